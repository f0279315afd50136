"""Fashion-MNIST: found on this machine, or downloaded from its official source, and checked either way.

In: a split's name. Out: its images and labels, in the published order. Nothing is fetched on import; a copy that was
found is never written to, and a download lies at its place only once its md5 is right.
"""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError, SourceError
from semblance.files import write_whole
from semblance.home import home
from semblance.inputs.idx import read_idx

Split = Literal["train", "test"]

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}  # published in the data set's README

_PREFIX: dict[str, str] = {"train": "train", "test": "t10k"}
_FOLDER = "fashion-mnist"
_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


def fashion_mnist(split: Split, *, allow_download: bool = True) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [N, 28, 28] uint8 0-255 and labels [N] uint8 0-9 of Fashion-MNIST: 60,000 "train" or 10,000 "test".

    Raises SourceError where there is no copy and none can be downloaded, or where the copy is damaged.
    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv:1708.07747.
    """
    if split not in _PREFIX:
        raise InputError(f"split must be 'train' or 'test', is {split!r}")
    folder = find_fashion_mnist(allow_download=allow_download)
    prefix = _PREFIX[split]
    return read_idx(folder / f"{prefix}-images-idx3-ubyte.gz"), read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")


def find_fashion_mnist(*, allow_download: bool = True, mirrors: Sequence[str] = MIRRORS) -> Path:
    """The folder that holds the four md5-checked files, downloaded into the cache where no copy is found.

    Looked for in `$SEMBLANCE_DATA/fashion-mnist`, `$SEMBLANCE_DATA`, `../shared/data/fashion-mnist` and the cache.
    Raises SourceError: none found and not downloaded, or a copy that is not the published one.
    """
    for place in _places():
        if all((place / name).is_file() for name in MD5):
            _check_copy(place)
            return place
    if not allow_download:
        raise SourceError(_not_found("not downloaded, as asked"))
    return _download(home() / _FOLDER, mirrors)


def _places() -> list[Path]:
    places = [Path("..", "shared", "data", _FOLDER).resolve(), home() / _FOLDER]
    if named := os.environ.get("SEMBLANCE_DATA"):
        given = Path(named).expanduser()
        places[:0] = [given / _FOLDER, given]
    return places


def _not_found(why_not_downloaded: str) -> str:
    looked = ", ".join(map(str, _places()))
    return (
        f"no Fashion-MNIST here: looked in {looked}; {why_not_downloaded}. "
        f"Put {', '.join(MD5)} (from {MIRRORS[0]}) into one of these folders, or set SEMBLANCE_DATA to where they are"
    )


def _check_copy(place: Path) -> None:
    for name, expected in MD5.items():
        if (found := _md5((place / name).read_bytes())) != expected:
            raise SourceError(
                f"{place / name}: md5 {found}, the published file has {expected}; delete it, so that it is "
                "downloaded again, or replace it by a good copy"
            )


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _download(folder: Path, mirrors: Sequence[str]) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in MD5:
            if not (folder / name).is_file() or _md5((folder / name).read_bytes()) != MD5[name]:
                write_whole(folder / name, _fetch(name, mirrors))
    except OSError as error:
        raise SourceError(_not_found(f"a download cannot be kept in {folder} ({error})")) from error
    return folder


def _fetch(name: str, mirrors: Sequence[str]) -> bytes:
    """The published bytes of one file, from the first mirror that has them."""
    failures = []
    for mirror in mirrors:
        url = f"{mirror}/{name}"
        _log.info("downloading %s", url)
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read()
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {error}")
            continue
        if (found := _md5(content)) == MD5[name]:
            return content
        failures.append(f"{url}: md5 {found} instead of {MD5[name]}")
    raise SourceError(_not_found(f"the download failed ({'; '.join(failures) or 'no mirrors given'})"))
