"""What a sweep tries, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from semblance.errors import InputError
from semblance.inference import backends
from semblance.options import checked_count


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """Bounds of a sweep. Raises InputError for values out of range, BackendError for an unknown backend."""

    backends: tuple[str, ...] = ()  # empty: all
    max_latency_ms: float | None = None  # of the slowest calls of the best in bulk
    max_batch: int | None = None  # the largest that is tried; None: a session's default, four times that on a device
    budget_s: float = 120.0  # of the whole; a load or a window that has begun is not cut short
    window_s: float = 0.5  # of the final measurement
    is_ungated: bool = False  # variants that did not pass the gate of retrieval take part

    def __post_init__(self) -> None:
        for name in ("max_latency_ms", "budget_s", "window_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, is {value!r}")
        if self.max_batch is not None:
            checked_count("max_batch", self.max_batch)
        for backend in self.backends:
            backends.check_name(backend)
            if backend == "auto":
                raise InputError("`auto` is what a sweep decides; name the backends that are to be measured")
