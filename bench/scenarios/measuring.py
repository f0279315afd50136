"""One scenario over one contender, from loading it to the figures; the whole life of a process.

In: a job. Out: a document with LoadGen's verdict and figure, all latencies, and how the answers of a second run, in
accuracy mode, agree with the encoder's embeddings. Before LoadGen starts, every batch size has been met, and how fast
the system is has been measured roughly, since LoadGen wants to know how many queries to prepare.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.scenarios.accuracy import compare, read_answers
from bench.scenarios.contenders import Asked, Contender, open_contender
from bench.scenarios.logs import Summary, read_details, read_latencies_ns, read_summary
from bench.scenarios.rates import Search, highest_rate
from bench.scenarios.running import Run, run
from bench.scenarios.scenario import (
    SAMPLES_PER_QUERY,
    SCENARIOS,
    SERVER_P99,
    Expected,
    accuracy_settings,
    import_loadgen,
    performance_settings,
)
from bench.scenarios.system import OnFailure

_MOST_TRACED = 1_000_000  # samples: a quarter of a gigabyte; beyond, the writing would be felt in what is measured
_ESTIMATE_S = 0.1  # each of three batch sizes
_PROBE_S = 10.0  # of an official search, whose result is then run at full length
_NEVER_MET = 16  # of a half: how much rarer queries are that do not wait for each other
_LONGER, _MOST_LENGTHS = 1.5, 4
_STEP_DOWN, _MOST_STEPS = 0.95, 8  # from a rate that short runs allow to one that holds for ten minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process measures."""

    scenario: str
    asked: Asked
    folder: Path
    seconds: float
    is_official: bool = False
    latency_ms: float = 15.0  # Server's bound
    num_accuracy: int = 64  # samples of the accuracy run, a multiple of a query's


@dataclass(slots=True)
class Runs:
    """LoadGen's runs of one job, each in a folder of its own."""

    job: Job
    contender: Contender
    on_failure: OnFailure
    loadgen: Any = field(default_factory=import_loadgen)

    def performance(self, name: str, expected: Expected, rate_per_sec: float | None, *, seconds: float | None) -> Run:
        """A timed run of `seconds`; None: of MLPerf's own length."""
        settings = performance_settings(
            self.loadgen,
            self.job.scenario,
            expected,
            seconds=seconds or 0,
            is_official=seconds is None,
            num_samples=len(self.contender.samples),
            latency_ms=self.job.latency_ms,
            rate_per_sec=rate_per_sec,
        )
        return self._run(name, settings, has_trace=expected.num_samples(settings) <= _MOST_TRACED)

    def accuracy(self, num_samples: int, rate_per_sec: float | None) -> Run:
        """A run that logs the answers."""
        settings = accuracy_settings(
            self.loadgen, self.job.scenario, num_samples=num_samples, rate_per_sec=rate_per_sec
        )
        return self._run("accuracy", settings, has_trace=False)

    def _run(self, name: str, settings: Any, *, has_trace: bool) -> Run:
        return run(
            self.loadgen,
            self.contender,
            settings,
            self.job.folder / name,
            is_queued=SCENARIOS[self.job.scenario].is_queued,
            has_trace=has_trace,
            on_failure=self.on_failure,
        )


def measure(job: Job, on_failure: OnFailure) -> dict[str, Any]:
    """The document of one scenario. Where the system fails under LoadGen, `on_failure` is told and this never ends."""
    import_loadgen()  # before anything that takes long
    contender = open_contender(job.asked)
    expected = _estimated(contender)
    runs = Runs(job, contender, on_failure)
    search: Search | None = None
    if job.scenario == "Server":
        final, rate_per_sec, search = server(runs, expected)
    else:
        final, rate_per_sec = long_enough(runs, expected), None
    summary = read_summary(final.folder) if final else None
    return {
        **contender.described,
        "threads": job.asked.threads,
        "scenario": job.scenario,
        "samples": job.asked.form,
        "is_decode_inside": job.asked.form == "encoded",
        "is_official": job.is_official,
        **_figures(job, final, summary),
        "latency_bound_ms": job.latency_ms if search else None,
        "target_rate_per_sec": rate_per_sec,
        "search": asdict(search) if search else None,
        "accuracy": _accuracy(runs, rate_per_sec or (search.probes[0].rate_per_sec if search else None)),
        "logs": str(job.folder),
    }


def long_enough(runs: Runs, expected: Expected) -> Run:
    """A timed run that did not run out of the queries that LoadGen prepared; prepares more where it did."""
    job = runs.job
    for number in range(_MOST_LENGTHS):
        seconds = None if job.is_official else job.seconds
        final = runs.performance(f"performance-{number}", expected.times(_LONGER**number), None, seconds=seconds)
        if read_summary(final.folder).satisfied["Min duration"]:
            break
    return final


def _figures(job: Job, final: Run | None, summary: Summary | None) -> dict[str, Any]:
    """What LoadGen found, or that there is nothing: a Server that holds its bound at no rate that was tried."""
    scenario = SCENARIOS[job.scenario]
    named = {"metric": scenario.metric, "unit": scenario.unit}
    if final is None or summary is None:
        return named | {"value": None, "is_valid": False, "num_queries": 0, "latencies_ns": None}
    details = read_details(final.folder)
    return named | {
        "value": scenario.value(summary),
        "is_valid": summary.is_valid,
        "num_queries": details["result_query_count"],
        "num_samples": final.num_samples,
        "mean_batch": final.mean_batch,
        "run": final.folder.name,
        "loadgen": details["loadgen_version"],
        "summary": asdict(summary),
        "latencies_ns": read_latencies_ns(final.folder) if final.has_trace else None,
    }


def server(runs: Runs, expected: Expected) -> tuple[Run | None, float | None, Search]:
    """The run at the highest rate that holds the bound, that rate, and how it was found."""
    job = runs.job
    done: dict[float, Run] = {}

    def p99_ms_at(rate_per_sec: float) -> float:
        seconds = min(_PROBE_S, job.seconds) if job.is_official else job.seconds
        done[rate_per_sec] = runs.performance(f"rate-{len(done)}", expected, rate_per_sec, seconds=seconds)
        return read_summary(done[rate_per_sec].folder).figure(SERVER_P99) / 1e6

    half_of_one_by_one = 500 / expected.one_ms  # queries/s
    search = highest_rate(
        p99_ms_at,
        bound_ms=job.latency_ms,
        start_per_sec=half_of_one_by_one,
        least_per_sec=half_of_one_by_one / _NEVER_MET,
    )
    if search.rate_per_sec is None:
        return None, None, search
    if not job.is_official:
        return done[search.rate_per_sec], search.rate_per_sec, search
    for step in range(_MOST_STEPS):
        rate_per_sec = search.rate_per_sec * _STEP_DOWN**step
        final = runs.performance(f"official-{step}", expected, rate_per_sec, seconds=None)
        if read_summary(final.folder).is_valid:
            break
    return final, rate_per_sec, search


def _accuracy(runs: Runs, rate_per_sec: float | None) -> dict[str, Any]:
    job, contender = runs.job, runs.contender
    num_samples = min(job.num_accuracy, len(contender.samples)) // SAMPLES_PER_QUERY * SAMPLES_PER_QUERY
    done = runs.accuracy(num_samples, rate_per_sec)
    precision = contender.described.get("precision", "fp32")
    agreement = compare(*read_answers(done.folder), contender.own(num_samples), precision=precision)
    return {"holds": agreement.holds, **asdict(agreement)}


def _estimated(contender: Contender) -> Expected:
    """Rough speeds, after a call at each size that meets it first."""
    one, eight, most = (_call_s(contender, size) for size in (1, SAMPLES_PER_QUERY, contender.max_batch))
    return Expected(1e3 * one, 1e3 * eight, contender.streams * contender.max_batch / most)


def _call_s(contender: Contender, size: int) -> float:
    """The median second of a call with `size` samples."""
    samples = [contender.samples[number % len(contender.samples)] for number in range(size)]
    contender.embed(samples)
    seconds: list[float] = []
    while sum(seconds) < _ESTIMATE_S or len(seconds) < 2:
        start = time.perf_counter()
        contender.embed(samples)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
