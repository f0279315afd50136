"""One thing that was proved, or was not: what every proof gives.

In: figures and whether they are within bounds. Out: a record for the result and a line for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A statement about one model in one precision."""

    name: str  # what is stated
    subject: str  # of which model, or of what
    precision: str  # fp32 | tf32 | fp16 | bytes | any
    passed: bool | None  # None: measured and told, not judged
    said: str  # in words, with the bound
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything, for the result."""
        return asdict(self)


def failed(name: str, subject: str, precision: str, error: Exception) -> Check:
    """A check that ended in an error, which says why in one line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Check(name=name, subject=subject, precision=precision, passed=False, said=said)
