"""What a container allows this process: its share of the processors' time, and its memory.

In: the root of a file system with /proc and the mounted cgroups, of version 1, 2 or both. Out: the tightest limit on
the way from the process's own group up to the mount, since a group has no more than the groups around it; and how many
threads that is work for. The set of processors needs no file: `sched_getaffinity` has it already.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NO_LIMIT_BYTES = 1 << 60  # version 1 writes the largest number of pages where there is no limit


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """None: no limit."""

    processors: float | None  # seconds of processor time for each second
    memory_bytes: int | None


def read_limits(root: Path = Path("/")) -> ContainerLimits:
    """The limits of this process; none where the system has no cgroups."""
    processors: list[float] = []
    memory: list[int] = []
    for controller, folder in _groups(root):
        if controller in ("cpu", "both"):
            processors += _quota(folder)
        if controller in ("memory", "both"):
            memory += _memory(folder)
    return ContainerLimits(min(processors, default=None), min(memory, default=None))


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_threads(root: Path = Path("/")) -> int:
    """How many threads this process has time for: one for each processor it may run on, or fewer by its container's.

    Of more threads than that, some would stand still in the middle of a batch, and the others wait for them.
    """
    quota = _processors_worth(root)
    return usable_processors() if quota is None else max(1, min(usable_processors(), math.ceil(quota)))


@cache
def _processors_worth(root: Path) -> float | None:
    """Read once: a third of a millisecond would be felt in every search, and nobody moves a process at work."""
    return read_limits(root).processors


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """("cpu", "memory" or, in version 2, "both") and the folder, of each group that this process is in."""
    own = _memberships(root)
    for line in _lines(root / "proc/self/mountinfo"):
        about, _, device = line.partition(" - ")
        fields, kind = about.split(" "), device.split(" ")
        if len(fields) < 5 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = ["both"] if kind[0] == "cgroup2" else [each for each in kind[-1].split(",") if each in own]
        for controller in controllers:
            within = _below(_unescaped(fields[3]), own.get("" if controller == "both" else controller, "/"))
            mount = root / _unescaped(fields[4]).lstrip("/")
            for depth in range(len(within), -1, -1):
                yield controller, mount.joinpath(*within[:depth])


def _memberships(root: Path) -> dict[str, str]:
    """The path of this process's group by controller; "" is version 2's."""
    own = {}
    for line in _lines(root / "proc/self/cgroup"):
        if line.count(":") >= 2:
            _, controllers, path = line.split(":", 2)
            own.update(dict.fromkeys(controllers.split(","), path))
    return own


def _below(mounted: str, path: str) -> list[str]:
    """The steps from the folder that is mounted to the group; none where a namespace hides the way."""
    start = [step for step in mounted.split("/") if step]
    steps = [step for step in path.split("/") if step]
    if steps[: len(start)] != start or ".." in steps:
        return []
    return steps[len(start) :]


def _quota(folder: Path) -> list[float]:
    """Version 2: "150000 100000" or "max 100000". Version 1: two files, and -1 for none."""
    words = _words(folder / "cpu.max") or [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return []
    return [int(words[0]) / int(words[1])]


def _memory(folder: Path) -> list[int]:
    words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
    return [int(word) for word in words[:1] if word.isdigit() and int(word) < _NO_LIMIT_BYTES]


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()  # a mount's name can be any bytes
    except OSError:
        return []


def _unescaped(path: str) -> str:
    """mountinfo writes blanks as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
