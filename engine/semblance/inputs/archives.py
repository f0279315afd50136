"""Pictures in a tar archive, plain or compressed, read as a stream.

In: an archive. Out: the bytes of its files, in its own order, in one pass: nothing is extracted, and no more than one
file is held. Nothing is written, so a member called /etc/passwd or ../x is only a name. An archive that was cut or
damaged is refused where that shows, after all that stands before: tarfile would take the rest for the end.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from semblance.errors import SourceError
from semblance.inputs.items import Item, what_is_there
from semblance.inputs.names import UniqueNames, place_of, valid_unicode
from semblance.inputs.samples import MEMBER_SUFFIXES, items_of

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_MAX_MEMBER_BYTES = 1 << 28  # of a larger one so much is read, and a byte that tells the decoder that it is larger
_MAX_HEADER_BYTES = 1 << 20  # that a long name or a pax header may take
_BUFFER_BYTES = 1 << 18
_DECOMPRESSORS: dict[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}  # by content, since suffixes are often wrong
_DAMAGES = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
_META_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class TarSource:
    """The pictures of a tar archive, in its order, by the paths they have there after `prefix`.

    Labels and columns are those of its sample (see `semblance.inputs.samples`); with `label_column`, labels are what
    the sample's .json says under that name. A link to a picture has no bytes of its own and gives an item with none; a
    path that comes again gets "#" and the number of its item; hidden files are left out. Iterating raises SourceError
    where the archive is damaged, cut short or followed by something else.
    """

    def __init__(self, path: Path, *, prefix: str = "", label_column: str | None = None) -> None:
        if not path.is_file():
            raise SourceError(f"{path}: {what_is_there(path)}; expected a tar archive ({' '.join(TAR_SUFFIXES)})")
        self.name = place_of(path)
        self._path = path.absolute()  # also where the working directory is another by then
        self._prefix = prefix
        self._label_column = label_column

    def __iter__(self) -> Iterator[Item]:
        unique = UniqueNames()
        for item in items_of(read_members(self._path, MEMBER_SUFFIXES), label_column=self._label_column):
            yield Item(unique.name(self._prefix + item.uri), item.content, item.label, item.columns)


def read_members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in the tar at `path` that ends in one of `suffixes`; of a link, no bytes.

    Raises SourceError, which names the file and the place, where it cannot be read on.
    """
    last, position = "its beginning", 0
    try:
        with _open(path) as file, _open_tar(file) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or it would keep every header
                position = member.offset
                last = name = valid_unicode(member.name).removeprefix("./")
                if (member.isreg() or member.islnk() or member.issym()) and _is_wanted(name, suffixes):
                    yield name, _read(tar, file, member) if member.isreg() else b""
            _check_end(file)
    except _DAMAGES as error:
        raise SourceError(
            f"{path}: damaged or cut short after byte {position:,} of the archive ({last}): {error}; "
            "copy it or pack it again"
        ) from error


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    is_hidden = "/." in f"/{name}" and any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
    return name.lower().endswith(suffixes) and not is_hidden


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    for magic, decompress in _DECOMPRESSORS.items():
        if start.startswith(magic):
            return cast(IO[bytes], decompress(path))  # a buffer around it would lose what stands before damage
    return path.open("rb", buffering=_BUFFER_BYTES)


def _open_tar(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=file, tarinfo=_Header, encoding="utf-8", errors="surrogateescape")


def _read(tar: tarfile.TarFile, file: IO[bytes], member: tarfile.TarInfo) -> bytes:
    num_bytes = min(member.size, _MAX_MEMBER_BYTES + 1)
    if member.issparse():  # with holes that take no room in the archive
        return cast(IO[bytes], tar.extractfile(member)).read(num_bytes)
    if file.tell() != member.offset_data:
        file.seek(member.offset_data)
    content = file.read(num_bytes)
    if len(content) < num_bytes:
        raise tarfile.ReadError(f"it has {len(content):,} of the member's {member.size:,} bytes")
    return content


def _check_end(file: IO[bytes]) -> None:
    """After the zero block at which reading stopped: a second one, then nothing but zeros to the end of the file.

    A hole in the middle of a copy looks like an end too. Reading on also has a compressed file's checksum checked.
    """
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("the mark of its end, two blocks of zeros, is missing")
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError("more follows the mark of its end: two archives in one file, or a hole in a copy")
        block = file.read(_BUFFER_BYTES)


class _Header(tarfile.TarInfo):
    """A member's header that is refused where tarfile takes damage for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            header = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # a block of zeros
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} where a member or the end should be") from error
        except (ValueError, LookupError, ArithmeticError, RecursionError) as error:  # from fields nobody checked
            raise tarfile.ReadError(f"a header that makes no sense ({error})") from error
        if header.size < 0:
            raise tarfile.ReadError(f"a member of {header.size} bytes")  # it would lead back, and round in a circle
        return header

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _META_TYPES and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header
