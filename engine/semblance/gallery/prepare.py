"""One item of a source becomes what a gallery needs of it: a row and pixels, or the reason why not.

In: an item, its key and a model's card. Out: a `Picture`, or an `ErrorRow` whose message begins with the item's uri.
What is wrong with one item never stops the others: whatever a gallery's columns cannot hold is found here, before the
picture is decoded and embedded, and an exception that nobody expected of a picture is one more reason why not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import ImageError, InputError
from semblance.gallery.keypoints import Keypoints
from semblance.gallery.shards import ErrorRow, Row
from semblance.inputs.decode import decode, decode_measured
from semblance.inputs.limits import DEFAULT, Limits, read_file
from semblance.inputs.resize import fit
from semblance.inputs.sources import Item


@dataclass(slots=True)
class Picture:
    """One decoded and resized picture, and its keypoints where they are kept."""

    row: Row
    pixels: NDArray[np.uint8]  # [card.height, card.width, card.channels]
    keypoints: Keypoints | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A picture that the gallery has already: the same name in the same source, and the same bytes."""

    key: int


def prepare(
    key: int,
    item: Item,
    card: ModelCard,
    *,
    limits: Limits = DEFAULT,
    known: Mapping[str, tuple[int, str]] = MappingProxyType({}),
    describe: Callable[[NDArray[np.uint8]], Keypoints] | None = None,
) -> Picture | Known | ErrorRow:
    """Check, read, hash, decode and resize one picture; what is wrong with it becomes its error row.

    `known` has key and sha256 of the pictures that the gallery has of this source, by uri. One of another sha256 keeps
    its key, and replaces what was there. `describe` finds the keypoints of the picture's grey [H, W, 1] before it is
    resized.
    """
    if problem := misfit(item):
        return _error(key, item, "columns", InputError.__name__, problem)
    content = item.content
    if isinstance(content, Path):
        try:
            content = read_file(content, limits)  # once, for the hash and the decoder
        except Exception as error:
            cause = error.__cause__ if isinstance(error, ImageError) else None
            return _error(key, item, "read", type(cause or error).__name__, _said(error))
    try:
        if not isinstance(content, (bytes, np.ndarray)):
            kind = type(content).__name__
            raise ImageError(f"its content is a {kind}; expected a pathlib.Path, encoded bytes or a uint8 array")
        sha256 = _sha256(content)
        known_key, known_sha256 = known.get(item.uri, (key, ""))
        if sha256 == known_sha256:
            return Known(known_key)
        decoded = decode_measured(content, channels=card.channels, limits=limits, reduce_to=(card.height, card.width))
        fitted = fit(decoded.pixels, card)
    except Exception as error:
        return _error(key, item, "decode", type(error).__name__, _said(error))
    try:
        keypoints = None
        if describe is not None:
            size = card.height, card.width
            # not made of RGB: a JPEG has a grey of its own, which is what a query's keypoints are found in
            grey = decode(content, channels=1, limits=limits, reduce_to=size) if card.channels == 3 else decoded.pixels
            keypoints = describe(grey)
    except Exception as error:
        return _error(key, item, "describe", type(error).__name__, _said(error))
    row = Row(known_key, item.uri, sha256, decoded.width, decoded.height, item.label, item.columns)
    return Picture(row, fitted, keypoints)


def _error(key: int, item: Item, stage: str, error: str, problem: str) -> ErrorRow:
    uri = _as_unicode(str(item.uri))  # also where the uri is the problem
    return ErrorRow(key, uri, stage, error, f"{uri}: {_as_unicode(problem)}")


def _as_unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _said(error: Exception) -> str:
    """What an exception says, in one line; its class where that is nothing, as of a MemoryError."""
    return str(error) if isinstance(error, ImageError) else " ".join(str(error).split()) or type(error).__name__


def misfit(item: Item) -> str:
    """Why no gallery's columns can hold what an item says of itself; empty where they can."""
    if not isinstance(item.uri, str):
        return f"its uri is {item.uri!r}; expected a string"
    if not isinstance(item.label, (str, type(None))):
        return f"its label is {item.label!r}; expected a string or None"
    if not isinstance(item.columns, Mapping):
        return f"its columns are {item.columns!r}; expected a mapping of names to values"
    if any(not isinstance(name, str) for name in item.columns):
        return f"its columns are named {list(item.columns)!r}; expected strings"
    texts = {"uri": item.uri, "label": item.label, **{f"column {name!r}": name for name in item.columns}}
    for name, value in item.columns.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"column {name!r} is an integer beyond 64 bits; give it as a string"
        texts[f"value of column {name!r}"] = value if isinstance(value, str) else None
    for name, text in texts.items():
        if text is not None and not _is_unicode(text):
            return f"its {name} is {text!r}, with lone surrogates, which UTF-8 cannot hold; give it as valid Unicode"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _sha256(content: bytes | NDArray[np.uint8]) -> str:
    buffer = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return hashlib.sha256(buffer).hexdigest()
