"""Whether a model that is unloaded leaves the device: loaded and dropped again and again, memory must not grow.

In: a model, a backend. Out: a check. The first rounds are not counted: the CUDA context and the libraries' own
workspaces stay for as long as the process does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

from bench.gpu_check.checks import Check
from bench.gpu_check.engine import open_engine
from bench.gpu_check.memory import MIB, used_bytes

_UNCOUNTED, _COUNTED = 2, 4
_MOST_GROWN_BYTES = 64 * MIB  # of a device that others may use at the same time
_SETTLE_S = 0.5


def check_residence(
    path: Path, name: str, precision: str, *, backend: str, used: Callable[[], int | None] = used_bytes
) -> Check:
    """Load, meet all batch sizes, drop; `used` says how many bytes of the device are in use."""
    after: list[int] = []
    for _ in range(_UNCOUNTED + _COUNTED):
        session = open_engine(path, backend)
        session.warm_up()
        del session
        gc.collect()
        time.sleep(_SETTLE_S if backend != "cpu" else 0)
        if (now := used()) is None:
            return Check(
                name="unloading gives the memory back", subject=name, precision=precision, passed=None,
                said="not measured: there is no nvidia-smi to ask for memory",
            )  # fmt: skip
        after.append(now)
    grown = after[-1] - after[_UNCOUNTED - 1]
    return Check(
        name="unloading gives the memory back",
        subject=name,
        precision=precision,
        passed=grown <= _MOST_GROWN_BYTES,
        said=f"{_COUNTED} rounds of load, warm-up and unload grew the device's memory by {grown / MIB:,.0f} MiB "
        f"(at most {_MOST_GROWN_BYTES // MIB})",
        figures={"used_bytes_after_each": after, "grown_bytes": grown},
    )
