"""All of a run, in its order: prove each model, measure the ceiling, time each model, race one against the others.

In: what the command line says. Out: the document of `result`. A proof that ends in an error is a check that failed, so
that one broken thing does not hide the rest.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import machine
from bench.gpu_check import invariance, matching, memory, resnet, result
from bench.gpu_check.ceiling import SIZE, measure_ceiling
from bench.gpu_check.checks import Check, failed
from bench.gpu_check.device import Gpu
from bench.gpu_check.parity import check_parity, reference
from bench.gpu_check.placement import check_placement
from bench.gpu_check.race import jobs, race
from bench.gpu_check.residence import check_residence
from bench.gpu_check.setting import PARTS, Precision, Setting
from bench.gpu_check.speed import Sweep
from bench.gpu_check.subjects import Pictures, Subject, pictures, subject, subjects
from bench.gpu_check.usable import versions
from bench.operations import operations_of

# Of the seconds for measuring; the sweeps have the rest
_SHARE_CEILING, _SHARE_MATCHING, _SHARE_RACE = 0.03, 0.05, 0.25
_WEIGHT_LARGE = 4  # times what a small model has: it takes as much longer to load and to run

_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to do."""

    models: Sequence[str] | None  # None: all that are here
    parts: Sequence[str] = PARTS
    backend: str = "cuda"  # "cpu" runs the same, for tests of this program
    seconds: float = 600.0  # of measuring; proofs and what others compile come on top
    compile_seconds: float = 60.0  # of each contender for each batch size
    batches: Sequence[int]
    race_batches: Sequence[int]
    num_images: int | None = None  # None: what `subjects.pictures` says
    ceiling_size: int = SIZE
    contenders: Sequence[str] | None = None  # files of theirs; None: all
    with_random_network: bool = True  # ResNet-101 with random weights where none is in the cache


class Run:
    """One run; what it found fills as it goes on."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan, self._console = plan, console
        self.checks: list[Check] = []
        self.memory: dict[str, dict[str, int | None]] = {}
        self.rows: dict[str, _Rows] = {"ceiling": [], "speed": [], "contenders": [], "matching": []}
        self.absent: dict[str, str] = {}
        self.not_measured: list[str] = []
        self._fastest: dict[str, Setting] = {}

    def prove(self, chosen: Sequence[Subject], shown: Mapping[str, Pictures]) -> None:
        """All checks of all models, and of matching."""
        for each in chosen:
            self._stage(f"{each.name}: proofs", partial(self._prove, each, shown[each.name]))
        self._check("matches are the CPU's, exactly", "local matching", "any",
                    partial(matching.check_matching, self._plan.backend))  # fmt: skip

    def measure(self, chosen: Sequence[Subject]) -> None:
        """The ceiling, matching, and each model's speed by setting and batch size."""
        plan = self._plan
        self._stage("largest matrix product", partial(
            self._add, "ceiling", measure_ceiling, plan.backend, seconds=plan.seconds * _SHARE_CEILING,
            size=plan.ceiling_size))  # fmt: skip
        self._stage("matching", partial(
            self._add, "matching", matching.time_matching, plan.backend, seconds=plan.seconds * _SHARE_MATCHING,
        ))  # fmt: skip
        share = 1 - _SHARE_CEILING - _SHARE_MATCHING - (_SHARE_RACE if "race" in plan.parts else 0)
        weights = {each.name: 1 if each.is_small else _WEIGHT_LARGE for each in chosen}
        for each in chosen:
            seconds = plan.seconds * share * weights[each.name] / sum(weights.values())
            self._stage(f"{each.name}: speed", partial(self._sweep, each, seconds))

    def race(self, raced: Subject) -> None:
        """One model beside others."""
        plan = self._plan
        usual = Setting(precision="fp16" if raced.half else "fp32", graphs=True, nhwc=True)
        setting = self._fastest.get(raced.name, usual)
        entered, self.absent = jobs(raced, backend=plan.backend, max_batch=max(plan.race_batches), setting=setting,
                                    only=plan.contenders)  # fmt: skip
        self._stage(f"{raced.name}: beside others", partial(
            self._add, "contenders", race, entered, plan.race_batches, seconds=plan.seconds * _SHARE_RACE,
            compile_seconds=plan.compile_seconds))  # fmt: skip

    def _prove(self, each: Subject, shown: Pictures) -> None:
        backend, images = self._plan.backend, shown.images
        try:
            self.checks += check_parity(each, shown, reference(each, images), backend=backend)
        except Exception as error:  # as in `_check`
            self.checks.append(failed("same embeddings as the CPU's fp32", each.name, "any", error))
        for precision, path in _files(each, backend):
            checks: dict[str, Callable[..., Check]] = {
                "every node on the device": check_placement,
                "same in every batch": partial(invariance.check_batches, images=images),
                "same at every place": partial(invariance.check_places, images=images),
                "same with CUDA graphs as without": partial(invariance.check_graphs, images=images),
                "each caller gets its own": partial(invariance.check_callers, images=images),
            }
            if precision != "tf32":  # the same file
                checks["unloading gives the memory back"] = check_residence
            for name, check in checks.items():
                self._check(name, each.name, precision, partial(check, path, each.name, precision, backend=backend))

    def _check(self, name: str, subject_name: str, precision: str, check: Callable[[], Check]) -> None:
        try:
            self.checks.append(check())
        except Exception as error:  # of the engine, of ONNX Runtime, or of ours: the others are to be seen as well
            self.checks.append(failed(name, subject_name, precision, error))

    def _sweep(self, each: Subject, seconds: float) -> None:
        sweep = Sweep(each, self._plan.backend, self._plan.batches)
        try:
            sweep.run(seconds)
        finally:
            self.rows["speed"] += sweep.rows
            self.not_measured += sweep.not_measured
        if (row := result.fastest(sweep.rows, copies="inside", io="bound")) is not None:
            self._fastest[each.name] = sweep.best[row["precision"]]

    def _add(self, kind: str, work: Callable[..., _Rows], *given: Any, **options: Any) -> None:
        self.rows[kind] += work(*given, **options)

    def _stage(self, title: str, work: Callable[[], None]) -> None:
        """Do it, with an eye on the device's memory; what fails is told, and the next stage has its turn."""
        self._console.print(title)
        with memory.watched() as peak:
            try:
                work()
            except Exception as error:  # as in `_check`
                self.not_measured.append(" ".join(f"{title}: {type(error).__name__}: {error}".split()))
        self.memory[title] = {"before_bytes": peak.before_bytes, "peak_bytes": peak.peak_bytes,
                              "grown_bytes": peak.grown_bytes}  # fmt: skip


def run(plan: Plan, gpu: Gpu, console: Console) -> dict[str, Any]:
    """The document. Raises SemblanceError for models that are not here."""
    described = machine("numpy")  # before the measurement, whose own load it must not show
    going = Run(plan, console)
    with tempfile.TemporaryDirectory() as folder:
        chosen = _chosen(plan, Path(folder), console)
        shown = {each.name: pictures(each.card, plan.num_images) for each in chosen} if "proofs" in plan.parts else {}
        if "proofs" in plan.parts:
            going.prove(chosen, shown)
        if "speed" in plan.parts:
            going.measure(chosen)
        if "race" in plan.parts:
            going.race(next((each for each in chosen if each.card.architecture == resnet.ARCHITECTURE), chosen[0]))
        flops = {each.name: _operations(each) for each in chosen}
    result.add_rates([*going.rows["speed"], *going.rows["contenders"]], flops, going.rows["ceiling"])
    return {
        "format": result.FORMAT,
        "date": datetime.date.today().isoformat(),
        "passed": all(check.passed is not False for check in going.checks),
        "device": gpu.as_json(),
        "machine": described,
        "versions": versions(),
        "parts": list(plan.parts),
        "seconds": plan.seconds,
        "models": [_described(each, shown.get(each.name), flops[each.name]) for each in chosen],
        "checks": [check.as_json() for check in going.checks],
        "memory": going.memory,
        "absent": going.absent,
        "not_measured": going.not_measured,
        **going.rows,
    }


def _chosen(plan: Plan, folder: Path, console: Console) -> list[Subject]:
    chosen = subjects(plan.models)
    if plan.with_random_network and all(each.card.architecture != resnet.ARCHITECTURE for each in chosen):
        console.print(f"no {resnet.ARCHITECTURE} among the models: one with random weights takes its place")
        chosen.append(subject(resnet.write(folder)[0]))
    return chosen


def _operations(each: Subject) -> int | None:
    """Of one image; None where they cannot be counted, which is no reason to lose what was measured."""
    try:
        return operations_of(each.path)
    except Exception:  # a shape that stays unknown, or onnx's own, which have no base in common
        return None


def _files(each: Subject, backend: str) -> list[tuple[Precision, Path]]:
    files: list[tuple[Precision, Path]] = [("fp32", each.path)]
    if backend == "cuda":
        files.append(("tf32", each.path))
    if each.half is not None:
        files.append(("fp16", each.half))
    return files


def _described(each: Subject, shown: Pictures | None, flops: int | None) -> dict[str, Any]:
    return {
        "name": each.name,
        "file": each.path.name,
        "has_fp16": each.half is not None,
        "fingerprint": each.card.fingerprint,
        "flop_per_image": flops,
        "images": shown.described if shown else None,
        "num_images": len(shown.images) if shown else 0,
        "has_labels": shown is not None and shown.labels is not None,
    }
