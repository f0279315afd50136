"""As many open files as the system allows, and what is said where a gallery needs more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

resource = pytest.importorskip("resource")

IN_A_FRESH_PROCESS = """
import resource, sys
from semblance.cli.limits import allow_many_files

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (50, hard))
allow_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard)
"""

TOO_FEW = """
import resource, sys
from pathlib import Path
from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery

resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    VectorGallery.open(Path(sys.argv[1]))
except GalleryError as error:
    print(error)
"""


def test_the_limit_becomes_the_highest_that_is_allowed() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_too_few_open_files_are_no_damage(tmp_path: Path) -> None:
    import semblance

    path = tmp_path / "made.gallery"
    semblance.Gallery.build("drawn-fashion:train:60", semblance.Encoder.load("siamese"), path, shard_rows=2)
    done = subprocess.run([sys.executable, "-c", TOO_FEW, str(path)], capture_output=True, text=True, check=True)
    assert "cannot be opened (Too many open files)" in done.stdout
    assert "ulimit -n" in done.stdout
    assert "damaged" not in done.stdout
