"""Files of an archive that belong together, as webdataset packs them: a picture, its class, its facts, its caption.

In: names and bytes, in an archive's order. Out: items. Neighbouring files of the same folder whose names are the same
up to the first dot are one sample. Each picture of a sample is an item of its own, and all of them get what the sample
says: its label from .cls or else from the field "label" of its .json, columns from the other scalar fields there, and
the column "caption" from its .txt, which goes before a field of that name. Without a label of their own, pictures are
labelled by the folder they lie in. A .json that cannot be read is logged and left out; its picture is not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator

from semblance.errors import SourceError
from semblance.inputs.items import IMAGE_SUFFIXES, Column, Item
from semblance.inputs.names import carried, folder_label, valid_unicode

MEMBER_SUFFIXES = (*IMAGE_SUFFIXES, ".cls", ".json", ".txt")

# A sample beyond this is frame.0001.png and so on, which share a name by accident: what waits is given out as it is
_MAX_PICTURES = 32
_MAX_BYTES = 1 << 26

_MAX_FACTS_BYTES = 1 << 20  # of a .cls, .json or .txt
_log = logging.getLogger(__name__)


def items_of(members: Iterable[tuple[str, bytes]], *, label_column: str | None = None) -> Iterator[Item]:
    """One item for each picture among `members`, in their order, named as there.

    With `label_column`, labels are what the sample says under that name, and nothing else. Where `members` raises
    SourceError, the pictures before that come first.
    """
    sample, num_bytes = "", 0
    pictures: list[tuple[str, bytes]] = []
    facts: dict[str, bytes] = {}
    try:
        for name, content in members:
            if _sample_of(name) != sample or len(pictures) == _MAX_PICTURES or num_bytes > _MAX_BYTES:
                yield from _items(pictures, facts, label_column)
                facts = facts if _sample_of(name) == sample else {}
                sample, pictures, num_bytes = _sample_of(name), [], 0
            if name.lower().endswith(IMAGE_SUFFIXES):
                pictures.append((name, content))
                num_bytes += len(content)
            elif len(content) <= _MAX_FACTS_BYTES:
                facts[name.lower().rpartition(".")[2]] = content
            else:
                _log.warning("%s: %d bytes, more than a caption or facts take; left out", name, len(content))
    except SourceError:
        yield from _items(pictures, facts, label_column)
        raise
    yield from _items(pictures, facts, label_column)


def _sample_of(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _items(pictures: list[tuple[str, bytes]], facts: dict[str, bytes], label_column: str | None) -> Iterator[Item]:
    if not pictures:
        return
    columns = _fields(pictures[0][0], facts["json"]) if "json" in facts else {}
    if "txt" in facts:
        columns["caption"] = _text(facts["txt"])
    label = columns.pop(label_column or "label", None)
    if label_column is None and "cls" in facts:
        label = _text(facts["cls"]) or label
    for name, content in pictures:
        folder = folder_label(name) if label_column is None else None
        yield Item(name, content, folder if label is None else str(label), carried(columns))


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig", "backslashreplace").strip()


def _fields(name: str, content: bytes) -> dict[str, Column]:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        _log.warning("the facts of %s are no JSON (%s); it comes without them", name, error)
        return {}
    if not isinstance(facts, dict):
        _log.warning("the facts of %s are a JSON %s, not an object; it comes without them", name, type(facts).__name__)
        return {}
    return {
        valid_unicode(key): valid_unicode(value) if isinstance(value, str) else value
        for key, value in facts.items()
        if value is None or isinstance(value, str | int | float)
    }
