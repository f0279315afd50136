"""Pictures in files of their own: all those below a folder, or those given one by one.

In: a folder, or paths. Out: `Item`s sorted by their uris as code points, which is the same order on every machine,
whatever the file system or the locale says. Nothing is read before its turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from semblance.errors import InputError, SourceError
from semblance.inputs.items import IMAGE_SUFFIXES, Item, what_is_there
from semblance.inputs.names import UniqueNames, folder_label, place_of, uri_of


class FolderSource:
    """Every image file under a folder, by its path from there; its label is the name of the folder it lies in.

    Hidden files and folders are left out, and linked folders are not entered, since they may lead round in a circle.
    Raises SourceError: no such folder, one that cannot be read, or none with images.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = Path(path)
        if not self.root.is_dir():
            raise SourceError(f"{self.root}: {what_is_there(self.root)}; expected a folder of images")
        self.name = place_of(self.root)
        self._paths = sorted(find_files(self.root.absolute(), IMAGE_SUFFIXES))
        if not self._paths:
            raise SourceError(
                f"{self.root}: a folder without images; expected files ending in {' '.join(IMAGE_SUFFIXES)}, "
                "in it or in folders below, and not hidden"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item]:
        unique = UniqueNames()  # a name that is no Unicode may be written like another that is
        for uri, path in self._paths:
            yield Item(unique.name(uri), Path(path), folder_label(uri))


class FileSource:
    """The given files, sorted by path; each is read, and may fail, only when its turn comes.

    Raises InputError where a path is given twice.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]], *, name: str = "files") -> None:
        self.name = name
        self._paths = sorted((uri_of(Path(path)), Path(path)) for path in paths)
        for (uri, _), (following, _) in zip(self._paths, self._paths[1:], strict=False):
            if uri == following:
                raise InputError(f"{uri} is given twice; each picture of a source needs a path of its own")

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item]:
        for uri, path in self._paths:
            yield Item(uri, path)


def find_files(root: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """uri and path of each file below `root` that ends in one of `suffixes` and is not hidden, in no order."""
    for folder, folders, files in os.walk(root, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        for name in files:
            if not name.startswith(".") and name.lower().endswith(suffixes):
                yield uri_of(below / name), os.path.join(folder, name)


def _cannot_list(error: OSError) -> None:
    raise SourceError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable or move it away")
