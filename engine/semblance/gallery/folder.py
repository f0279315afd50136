"""The folder of a gallery: what may become one, and what the system refuses, said with the path.

In: the path of a gallery to be. Out: its folders, or a GalleryError. What was made is taken away again if nothing was
ever committed into it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semblance.errors import GalleryError
from semblance.files import sync_folder
from semblance.gallery.lock import LOCK_NAME
from semblance.gallery.manifest import MANIFEST_NAME
from semblance.gallery.shards import ERRORS_NAME

# What a start that was killed before its first manifest can leave behind
_BEGUN = re.compile(rf"{LOCK_NAME}|{re.escape(ERRORS_NAME)}|shards|sift|\..+\.part")

_OURS = re.compile(rf"{_BEGUN.pattern}|{re.escape(MANIFEST_NAME)}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A body that writes the gallery at `path` and does nothing else: its OSErrors become GalleryErrors."""
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path}: cannot be written ({error}); give another path, or make room and run the same again: it carries "
            "on from what was committed"
        ) from error


def is_gallery(path: Path) -> bool:
    """Whether there is a manifest in the folder `path`."""
    return (path / MANIFEST_NAME).is_file()


def make_folder(path: Path) -> list[Path]:
    """Make the folder `path`, with its parents; returns those that were missing, innermost first.

    Raises GalleryError where something is in the way: neither a gallery, nor the beginnings of one, nor empty.
    """
    with writing(path):
        # lexists: a link to nowhere is in the way too
        if os.path.lexists(path) and not (path.is_dir() and (is_gallery(path) or _is_free(path))):
            raise GalleryError(
                f"{path} is in the way: it is no gallery and no empty folder; give another path or remove it"
            )
        missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
    return missing


def remove_folder(path: Path, missing: list[Path]) -> None:
    """Take away a gallery that nothing was committed into, and the folders that were made for it."""
    with suppress(OSError):  # what went wrong first is what the user has to hear
        for entry in path.iterdir():
            if _OURS.fullmatch(entry.name):  # what else lies there is the user's
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _is_free(path: Path) -> bool:
    """Empty, but for what a killed start may have left."""
    folders = [path, *(path / name for name in ("shards", "sift") if (path / name).is_dir())]
    inside = [entry for folder in folders for entry in folder.iterdir()]
    return all(_BEGUN.fullmatch(entry.name) for entry in inside)
