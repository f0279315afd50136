"""When to kill a command, and what it was at then.

In: the steps that an undisturbed command takes, or the seconds. Out: moments of every stage, or times; and for steps,
and for what a killed process left, the stage they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from bench.survival.watch import How, Moment, Step, flushes_file, step_name

HOWS: tuple[How, ...] = get_args(How)

_STAGES = {
    "shards": "shard",
    "sift": "sift",
    "index": "index",
    "errors.parquet": "errors",
    "manifest.json": "manifest",
    "lock": "lock",
}


@dataclass(frozen=True, slots=True)
class Delay:
    """When a process is to be killed that does not know of it."""

    seconds: float
    since: Literal["start", "lock"]  # lock: since it took the gallery's lock


def stages(steps: Sequence[Step]) -> list[str]:
    """What each step is a part of: lock, shard, sift, errors, removed, manifest, index, tidy, or folder.

    Flushing the gallery's own folder belongs to the file that was put there before.
    """
    found: list[str] = []
    for step in steps:
        if step.operation in ("unlink", "rmdir") and step.name != "lock":
            found.append("tidy")
        elif step.name == ".":
            found.append(found[-1] if found else "folder")
        else:
            found.append(stage_of(step.name))
    return found


def stage_of(name: str) -> str:
    """What a file of a gallery is written in."""
    first = name.partition("/")[0].removesuffix(" (aside)")
    return "removed" if first.startswith("removed-") else _STAGES.get(first, "other")


def unflushed(steps: Sequence[Step]) -> list[str]:
    """Files that a loss of power could take or tear: renamed before they were flushed, or the rename never was."""
    done, problems = [(step.operation, step.name) for step in steps], []
    for number, (operation, name) in enumerate(done):
        if operation != "replace":
            continue
        if ("fsync", f"{name} (aside)") not in done[:number][-1:]:
            problems.append(f"{name} is put in place before it is flushed")
        if ("fsync", name.rpartition("/")[0] or ".") not in done[number + 1 :][:1]:
            problems.append(f"{name} is put in place and its folder is not flushed")
    return problems


def moments(steps: Sequence[Step], rng: np.random.Generator) -> dict[str, list[Moment]]:
    """Every moment between two steps, by stage, each stage's in random order."""
    found: dict[str, list[Moment]] = {}
    for number, (step, stage) in enumerate(zip(steps, stages(steps), strict=True)):
        hows = HOWS if flushes_file(step.operation, step.name) else HOWS[:2]
        found.setdefault(stage, []).extend(Moment(number, how, float(rng.random())) for how in hows)
    return {stage: [each[index] for index in rng.permutation(len(each))] for stage, each in found.items()}


def aimed(steps: Sequence[Step], num: int, rng: np.random.Generator) -> list[Moment]:
    """`num` moments, of the stages in turn, none twice before all of its stage were there."""
    waiting = moments(steps, rng)
    return [
        waiting[stage][turn % len(waiting[stage])]
        for turn in range(-(-num // max(1, len(waiting))))
        for stage in waiting
    ][:num]


def timed(num: int, idle_sec: float, busy_sec: float, rng: np.random.Generator) -> list[Delay]:
    """`num` times, each in a stretch of its own: a third of them before the lock is taken, the others after."""
    num_early = num // 3
    early = (np.arange(num_early) + rng.random(num_early)) / max(1, num_early) * idle_sec
    num_late = num - num_early
    late = (np.arange(num_late) + rng.random(num_late)) / max(1, num_late) * busy_sec
    return [*(Delay(float(each), "start") for each in early), *(Delay(float(each), "lock") for each in late)]


def stage_left(gallery: Path) -> str:
    """What a process was at that ended at an unknown moment, by what it left."""
    for path in gallery.rglob(".*.part"):
        return stage_of(str(step_name(gallery, path)))
    return "between" if (gallery / "lock").exists() else "outside"
