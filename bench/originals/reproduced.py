"""Published figures beside those that came out here.

In: what an original published and the `retrieval` record of its own protocol. Out: `published` records, one for every
figure, also of those that could not be had, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.originals.published import Published
from bench.records import Record

_AT_K = {"P": "precision", "R": "recall", "F1": "f1", "AP": "average_precision", "hit": "hit"}

Values = Callable[[str], float | None]  # a figure's name -> what came out


def figure(record: Record, name: str) -> float | None:
    """A figure of a record by its published name: "P@5", "accuracy", "P@30 Trouser". None where it has none."""
    name, _, of_class = name.partition(" ")
    figures: dict[str, Any] = record["per_class"].get(of_class, {}) if of_class else record
    kind, _, k = name.partition("@")
    found = figures.get("at_k", {}).get(k, {}).get(_AT_K.get(kind, kind)) if k else figures.get(kind)
    return None if found is None else float(found)


def is_engines(record: Record, original: str, protocol: str) -> bool:
    """Whether a record is the engine's own answer, exact and in fp32, in a published protocol, which is Euclidean."""
    wanted = {"kind": "retrieval", "original": original, "protocol": protocol, "runtime": "onnx", "precision": "fp32",
              "search": "exact", "metric": "l2sq"}  # fmt: skip
    return all(record.get(name) == value for name, value in wanted.items())


def beside(published: Sequence[Published], value: Values, *, note: str = "") -> list[Record]:
    """A record for each figure; `note` says why those that differ do."""
    return [_record(each, value(each.figure), note) for each in published]


def left_out(published: Sequence[Published], why: str) -> list[Record]:
    """The same where nothing was measured."""
    return beside(published, lambda _: None, note=why)


def _record(published: Published, found: float | None, note: str) -> Record:
    is_exact = found is not None and round(found, published.decimals) == round(published.value, published.decimals)
    return {
        "kind": "published",
        "row": published.row,
        "original": published.original,
        "figure": published.figure,
        "published": published.value,
        "reproduced": found,
        "is_exact": is_exact,
        "note": "" if is_exact else note,
        "protocol": published.note,
    }
