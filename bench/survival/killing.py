"""A command killed and given again until it is done, and the gallery that it leaves compared with an undisturbed one.

In: a command's name, how often, and a seed. Out: what was hit, how many files came out the same, and every problem.
Half the kills of `embed` come at random times; the others, and all kills of the commands that change a gallery, are
aimed at one of the moments between two steps. After each kill the manifest must be one that an undisturbed command puts
in place, and all that it names must be whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.survival.gallery import ASKED, MAX_KEYPOINTS, SHARD_ROWS, Queries, Tree, differences, make_gallery, tree
from bench.survival.moments import HOWS, Delay, aimed, stage_left, stage_of, stages, timed, unflushed
from bench.survival.pictures import Encoded, find_pictures, write_folder
from bench.survival.watch import Moment, Step, read_steps
from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Manifest
from semblance.gallery.verify import verify

COMMANDS = ("embed", "add", "refresh", "remove", "compact", "rebuild")  # refresh: `add` of a source that changed
CHILD = "from bench.survival.watch import run_watched; run_watched()"  # the process of an aimed kill
MAX_KILLS = 3  # of one run

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Change:
    """A command, and the gallery that it changes."""

    arguments: tuple[str, ...]
    gallery: Path  # where it writes
    before: Path | None  # the gallery it begins with; None: there is none


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a command does when nobody disturbs it: once, and given again some times more."""

    steps: list[Step]  # of the first time
    idle_sec: float  # until it takes the lock
    busy_sec: float  # and from then to its last step
    ends: list[Tree]  # the folder after each time
    commits: list[list[str]]  # sha256 of each manifest that was put in place, by time
    begin: str | None  # and that of the manifest before
    queries: Queries
    answers: dict[str, Any]  # of exact search, by the sha256 of the manifest at the begin and at each end

    @property
    def all_commits(self) -> set[str | None]:
        """Every manifest that may be met."""
        return {self.begin, *(each for commits in self.commits for each in commits)}


class Failed(Exception):
    """A command that came to no end of its own, or to a bad one."""


@dataclass(slots=True)
class Run:
    """One command that was killed, given again until it was done, and compared."""

    manner: str  # timed or aimed
    kills: list[dict[str, str]] = field(default_factory=list)  # stage and moment
    problems: list[str] = field(default_factory=list)
    identical: dict[str, bool] = field(default_factory=dict)  # by kind of file


def make_change(command: str, scratch: Path, pictures: Sequence[Encoded], *, has_sift: bool = False) -> Change:
    """The command with the sources and the gallery that it needs, in the folder `scratch`."""
    gallery = scratch / "killed"
    if command == "embed":
        source = write_folder(scratch / "pictures", pictures)
        options: tuple[str, ...] = ("--deterministic", "--shard-rows", str(SHARD_ROWS), "--threads", "1")
        if has_sift:
            options += ("--sift", "--max-keypoints", str(MAX_KEYPOINTS))
        return Change(("embed", str(source), "--out", str(gallery), *options), gallery, None)
    num_before = len(pictures) * 2 // 3
    before = make_gallery(scratch, pictures[:num_before], has_sift=has_sift)
    arguments: tuple[str, ...] = (command, str(gallery))
    if command == "add":
        arguments += (str(write_folder(scratch / "more", pictures[num_before:])), "--threads", "1")
    if command == "refresh":  # some pictures under their old names are others now, and some are new
        names, others = [name for name, _ in pictures[1:num_before:2]], [each for _, each in pictures[num_before:]]
        changed = [*zip(names[::3], others, strict=False), *pictures[num_before::2]]
        arguments = ("add", str(gallery), str(write_folder(scratch / "second", changed)), "--threads", "1")
    if command == "remove":
        arguments += ("--where", "key % 3 = 0")
    return Change(arguments, gallery, before)


def reset(change: Change) -> None:
    """Put the gallery back to what it is before the command."""
    shutil.rmtree(change.gallery, ignore_errors=True)
    if change.before is not None:
        shutil.copytree(change.before, change.gallery)


def run_command(change: Change, *, when: Moment | Delay | None = None, log: Path | None = None) -> bool:
    """The command in a process of its own, killed at `when`: whether it came to its end before.

    It is watched where there is a log. Raises Failed where it ends in another way.
    """
    command = [str(Path(sys.executable).with_name("semblance")), *change.arguments]
    if log is not None:
        moment = asdict(when) if isinstance(when, Moment) else None
        plan = {"gallery": str(change.gallery), "log": str(log), "moment": moment}
        command = [sys.executable, "-c", CHILD, json.dumps(plan), *change.arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        if isinstance(when, Delay):
            while when.since == "lock" and process.poll() is None and not _has_lock(change.gallery, process.pid):
                time.sleep(0.001)
            time.sleep(when.seconds)
            process.kill()
        said = process.communicate()[1].strip()
    if process.returncode == 0:
        return True
    if process.returncode != -signal.SIGKILL or when is None:
        raise Failed(f"{' '.join(change.arguments)} ended with {process.returncode}: {said[-500:]}")
    return False


def _has_lock(gallery: Path, pid: int) -> bool:
    try:
        return f'"pid": {pid},' in (gallery / "lock").read_text()
    except OSError:
        return False


def observe(change: Change, scratch: Path, *, times: int) -> Undisturbed:
    """Run the command without disturbing it, and again on its own result until that changes nothing, or `times`."""
    reset(change)
    begin = _manifest_of(change.gallery)
    answers, queries = dict[str, Any](), np.empty((0, 0), np.float32)
    steps, commits, ends = list[list[Step]](), list[list[str]](), list[Tree]()
    if begin is not None:
        queries = VectorGallery.open(change.gallery).vectors[:5]
        answers[begin] = ASKED["exact search"](change.gallery, queries)
    start = time.monotonic()
    for number in range(times):
        log = scratch / f"undisturbed-{number}.log"
        run_command(change, log=log)
        steps.append(read_steps(log))
        commits.append([step.commit for step in steps[-1] if step.commit is not None])
        ends.append(tree(change.gallery))
        if not commits[-1]:
            break
        queries = queries if len(queries) else VectorGallery.open(change.gallery).vectors[:5]
        answers[commits[-1][-1]] = ASKED["exact search"](change.gallery, queries)
    locked, last = next(step.at for step in steps[0] if step.name == "lock"), steps[0][-1].at
    return Undisturbed(steps[0], locked - start, last - locked, ends, commits, begin, queries, answers)


def kill_run(
    change: Change,
    undisturbed: Undisturbed,
    first: Moment | Delay,
    scratch: Path,
    rng: np.random.Generator,
    *,
    max_kills: int = MAX_KILLS,
) -> Run:
    """Kill the command at `first`, a moment or a time, and perhaps the ones that carry it on; then let it end."""
    reset(change)
    run, num_done, when = Run("aimed" if isinstance(first, Moment) else "timed"), 0, first
    num_kills = int(rng.integers(1, max_kills + 1))
    try:
        while len(run.kills) < num_kills:
            killed = kill_once(change, when, scratch)
            if killed is None and not run.kills:  # it was faster than before
                reset(change)
                when = sooner(when)
                continue
            if killed is None:
                break
            run.kills.append(killed)
            # Once its last commit is made, the same command is a further one, as it is for anybody
            if _manifest_of(change.gallery) in undisturbed.commits[num_done][-1:]:
                num_done += 1
            run.problems += [f"killed {killed['moment']}: {each}" for each in unsettled(change.gallery, undisturbed)]
            when = another(when, undisturbed, rng)
        else:
            run_command(change)
        compare(run, change.gallery, undisturbed.ends[num_done], undisturbed)
    except (Failed, GalleryError) as error:
        run.problems.append(str(error))
    return run


def kill_once(change: Change, when: Moment | Delay, scratch: Path) -> dict[str, str] | None:
    """Run the command and kill it: stage and moment; None where it had come to its end before."""
    if isinstance(when, Delay):
        is_done = run_command(change, when=when)
        moment = f"{when.seconds:.3f} s after {when.since}"
        return None if is_done else {"stage": stage_left(change.gallery), "moment": moment}
    log = scratch / "killed.log"
    log.unlink(missing_ok=True)
    if run_command(change, when=when, log=log):
        return None
    steps = read_steps(log)
    return {"stage": stages(steps)[-1], "moment": f"{when.how} {steps[-1].operation} {steps[-1].name}"}


def sooner(when: Moment | Delay) -> Moment | Delay:
    """The time, when it came too late. Raises Failed for a moment, which comes in every such run."""
    if isinstance(when, Delay):
        return Delay(when.seconds * 0.8, when.since)
    raise Failed(f"there was no step {when.number}, and in the undisturbed run there was")


def another(before: Moment | Delay, undisturbed: Undisturbed, rng: np.random.Generator) -> Moment | Delay:
    """When to kill the command that carries on from `before`; it may be done by then."""
    if isinstance(before, Delay):
        return Delay(float(rng.uniform(0, undisturbed.busy_sec)), "lock")
    num_left = max(1, len(undisturbed.steps) - before.number)
    return Moment(int(rng.integers(num_left)), HOWS[int(rng.integers(len(HOWS)))], float(rng.random()))


def unsettled(gallery: Path, undisturbed: Undisturbed) -> list[str]:
    """What is wrong with a gallery whose writer was killed: no commit of its own, or not whole, or not to be opened."""
    commit = _manifest_of(gallery)
    if commit not in undisturbed.all_commits:
        return ["its manifest is none that an undisturbed command puts in place"]
    if commit is None:
        return []
    problems = [f"verify: {each.file}: {each.problem}" for each in verify(gallery)]
    manifest = Manifest.read(gallery)
    try:
        answer = ASKED["exact search"](gallery, undisturbed.queries) if manifest.num_images >= 7 else None
    except GalleryError as error:
        if manifest.is_complete or manifest.index is not None or "is unfinished" not in str(error):
            problems.append(f"it cannot be opened: {error}")
    else:
        if answer != undisturbed.answers.get(commit, answer):
            problems.append("it answers otherwise than that commit does")
    return problems


def compare(run: Run, gallery: Path, expected: Tree, undisturbed: Undisturbed) -> None:
    """Write into `run` how the gallery differs from what the undisturbed command left."""
    found = tree(gallery)
    run.problems += differences(found, expected)
    for kind in ("shard", "sift", "errors", "removed", "index", "manifest"):
        names = {name for name in {*found, *expected} if stage_of(name) == kind}
        if names:
            run.identical[kind] = all(name in found and found[name] == expected.get(name) for name in names)
    run.problems += [f"verify: {each.file}: {each.problem}" for each in verify(gallery)]
    answer = ASKED["exact search"](gallery, undisturbed.queries)
    manifest = hashlib.sha256(expected["manifest.json"] or b"").hexdigest()
    if answer != undisturbed.answers[manifest]:
        run.problems.append("exact search answers otherwise")


def kill(
    command: str,
    *,
    num_runs: int,
    seed: int,
    num_pictures: int = 90,
    max_kills: int = MAX_KILLS,
    has_sift: bool = False,
) -> dict[str, Any]:
    """Kill one command `num_runs` times; what was hit, and what is not as it must be."""
    rng, start = np.random.default_rng(seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        change = make_change(command, scratch, find_pictures(num_pictures), has_sift=has_sift)
        undisturbed = observe(change, scratch, times=max_kills + 1)
        num_timed = num_runs // 2 if command == "embed" else 0
        firsts: list[Moment | Delay] = [*aimed(undisturbed.steps, num_runs - num_timed, rng)]
        firsts += timed(num_timed, undisturbed.idle_sec, undisturbed.busy_sec, rng)
        runs = [kill_run(change, undisturbed, first, scratch, rng, max_kills=max_kills) for first in firsts]
    return {**summary(command, undisturbed, runs), "seconds": round(time.monotonic() - start, 1)}


def summary(command: str, undisturbed: Undisturbed, runs: Sequence[Run]) -> dict[str, Any]:
    """What all runs of one command came to."""
    return {
        "command": command,
        "num_runs": len(runs),
        "num_kills": sum(len(run.kills) for run in runs),
        "num_steps": len(undisturbed.steps),
        "num_commits": len(undisturbed.commits[0]),
        "stages": {
            manner: dict(Counter(each["stage"] for run in runs if run.manner == manner for each in run.kills))
            for manner in ("timed", "aimed")
        },
        "stages_not_hit": sorted({*stages(undisturbed.steps)} - {each["stage"] for run in runs for each in run.kills}),
        "identical": {
            kind: sum(run.identical[kind] for run in runs if kind in run.identical)
            for kind in dict.fromkeys(kind for run in runs for kind in run.identical)
        },
        "unflushed": unflushed(undisturbed.steps),
        "runs": [asdict(run) for run in runs],
        "problems": [
            f"run {number} ({', '.join(each['moment'] for each in run.kills)}): {problem}"
            for number, run in enumerate(runs)
            for problem in run.problems
        ],
    }


def _manifest_of(gallery: Path) -> str | None:
    path = gallery / "manifest.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
