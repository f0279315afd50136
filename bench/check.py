"""Does the harness tell the truth? Contenders whose results are known, through the same races as all others.

In: nothing. Out: claims, each with what was found and whether it holds. One contender sleeps for a known time, one
answers for another image, one fails, one is measured twice in one race and again in a second one, and LoadGen is given
systems that do the like (`bench.scenarios --self-check`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.contenders.known.sleeps_5_ms import TAKES_S
from bench.entries import AGAINST_ORIGINAL, entry, originals
from bench.racing import Entry, Race, Workload, run_race
from bench.records import Record
from bench.report import figures
from bench.subjects import Subject, subject

_SLEEP_WITHIN = 0.05  # of what it sleeps
_BATCH = 32
_TWICE = ("first", "again")


def check(emit: Callable[[Record], None], *, seconds: float = 2.0, is_quick: bool = False) -> bool:
    """Emit a `check` record for each claim; whether all hold. If it is to be quick, LoadGen's are left out."""
    claims = [*sleeps(seconds), *lies(seconds), *repeats(seconds), *([] if is_quick else loadgen(seconds))]
    for each in claims:
        emit({"kind": "check", **each})
    return all(each["holds"] for each in claims)


def sleeps(seconds: float) -> list[Record]:
    """A contender that sleeps 5 ms a call is measured at 5 ms."""
    (record,) = _raced([Entry(kind="known", contender="sleeps_5_ms", threads=1)], [_number(1)], seconds)
    timing = figures.timing(record)
    assert timing is not None
    off = timing.p50_s / TAKES_S - 1
    return [
        {
            "claim": f"a contender that sleeps {TAKES_S * 1e3:.0f} ms a call is measured within {_SLEEP_WITHIN:.0%}",
            "found": f"{timing.p50_s * 1e3:.3f} ms, {off:+.1%}, of {timing.num_calls:,} calls",
            "holds": abs(off) <= _SLEEP_WITHIN,
        }
    ]


def lies(seconds: float) -> list[Record]:
    """Answers for other images are seen to be wrong, and right ones to be right; so is a contender that fails."""
    model = subject("siamese")
    engine = _engine(model)
    entries = [
        originals(model.name, options={}, weights=None, threads=2)[0],
        engine,
        replace(engine, contender="shuffles", kind="known", backend=None),
        Entry(kind="known", contender="fails", threads=1),
    ]
    records = _raced(entries, [_images(model)], seconds)
    answers = {each["contender"]: each["answers"] for each in records if each["kind"] == "race"}
    absent = [each for each in records if each["kind"] == "absent"]
    right, wrong = answers.get("ort_cpu"), answers.get("shuffles")
    found = f"not judged; {_absences(absent)}"
    if right and wrong:
        found = f"mean cosine to TensorFlow {wrong['value']:.4f}, the engine's {right['value']:.6f}"
    return [
        {
            "claim": "embeddings of other images are told from right ones",
            "found": found,
            "holds": bool(right and wrong and right["is_right"] and not wrong["is_right"]),
        },
        {
            "claim": "a contender that fails is absent, with its reason, and stops nobody",
            "found": _absences(absent),
            "holds": [each["contender"] for each in absent] == ["fails"] and len(answers) == len(entries) - 1,
        },
    ]


def repeats(seconds: float) -> list[Record]:
    """One contender under two names in one race, and its ratio to the original in two races, one after the other."""
    model = subject("siamese")
    original = originals(model.name, options={}, weights=None, threads=2)[0]
    entries = [replace(_engine(model), mark=mark) for mark in _TWICE]
    claims = (
        "one contender under two names in one race differs by less than the stated noise of both",
        "its ratio to TensorFlow in two races differs by less than the stated noise of both",
    )
    races = [_raced([original, *entries], [_images(model)], 3 * seconds) for _ in range(2)]
    if absent := [each for records in races for each in records if each["kind"] == "absent"]:
        return [{"claim": each, "found": f"not measured; {_absences(absent)}", "holds": False} for each in claims]
    (base, first, again), (later_base, later, _) = races
    ratio = figures.ratio(again, first)
    assert ratio is not None
    timings = [figures.timing(each) for each in (first, again)]
    within = sum(each.rate.noise or 0.0 for each in timings if each)
    ratios = [figures.ratio(one, other) for one, other in ((first, base), (later, later_base))]
    between = sum(each.noise or 0.0 for each in ratios if each)
    before, after = (each.value for each in ratios if each)
    found = (
        f"{ratio.value - 1:+.2%}, stated {within:.2%}",
        f"{before:.2f} and {after:.2f}, {after / before - 1:+.2%}, stated {between:.2%}",
    )
    holds = (abs(ratio.value - 1) <= within, abs(after / before - 1) <= between)
    return [
        {"claim": claim, "found": what, "holds": does} for claim, what, does in zip(claims, found, holds, strict=True)
    ]


def loadgen(seconds: float) -> list[Record]:
    """MLPerf's LoadGen over systems of known latency, and its accuracy log against known answers."""
    from bench.scenarios.check import check as check_scenarios

    with tempfile.TemporaryDirectory() as folder:
        return [
            {"claim": f"LoadGen, {each['scenario']}: {each['claim']}", "found": each["found"], "holds": each["holds"]}
            for each in check_scenarios(Path(folder), seconds=seconds)
        ]


# ------------------------------------------------------------------------------------------------------------------


def _engine(model: Subject) -> Entry:
    return entry(model.path("fp32"), "fp32", "cpu", threads=2, max_batch=_BATCH)


def _images(model: Subject) -> Workload:
    return Workload(name=f"batch {_BATCH}", given=model.images(_BATCH), items=_BATCH)


def _number(number: int) -> Workload:
    return Workload(name="a number", given=number, items=1, unit="calls")


def _raced(entries: list[Entry], workloads: list[Workload], seconds: float) -> list[Record]:
    return run_race(
        Race(
            suite="known",
            name="known",
            subject="known",
            entries=entries,
            workloads=workloads,
            judge=AGAINST_ORIGINAL,
            budget_s=seconds,
        )
    )


def _absences(absent: list[Record]) -> str:
    return "; ".join(f"{each['entry']}: {each['reason']}" for each in absent)
