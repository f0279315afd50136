"""Photographs for the inputs' tests."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def caltech_photos(caltech_dir: Path) -> list[bytes]:
    """The encoded bytes of Caltech101's first twenty photographs in the tar."""
    photos: list[bytes] = []
    with tarfile.open(caltech_dir / "caltech101-45.tar") as tar:
        for member in tar:
            if member.name.endswith(".jpg") and (file := tar.extractfile(member)):
                photos.append(file.read())
            if len(photos) == 20:
                break
    return photos
