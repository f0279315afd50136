"""The folder of a gallery in the making: made whole, or gone again without a trace.

In: the path of a new gallery. Out: its empty folders for the length of a `with` body. What the system refuses there is
a GalleryError that names the path; what was made is removed if the body fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semblance.errors import GalleryError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A body that writes the gallery at `path` and does nothing else: its OSErrors become GalleryErrors."""
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path}: cannot be written ({error}); give another path, or free space and embed again"
        ) from error


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make the folder `path`, with its parents and its `shards`; if the body fails, all that was made goes again.

    Raises GalleryError where something is in the way or the folders cannot be made. Exceptions of the body pass.
    """
    with writing(path):
        # lexists: a link to nowhere is in the way too
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise GalleryError(
                f"{path} is in the way: it exists and is no empty folder; give another path or remove it"
            )
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        with writing(path):
            (path / "shards").mkdir(parents=True)
        yield
    except BaseException:
        with suppress(OSError):  # what went wrong first is what the user has to hear
            _remove(path, missing)
        raise


def _remove(path: Path, missing: list[Path]) -> None:
    """Empty the folder `path`, and remove those that were `missing` before, innermost first."""
    for entry in path.iterdir() if path.is_dir() else ():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for folder in missing:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
