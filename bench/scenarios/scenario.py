"""MLPerf's scenarios, as settings of LoadGen.

In: a scenario, what can be expected of the system, and whether a run is short or official. Short runs last as long as
is asked, with no least number of queries, so that LoadGen calls those invalid that are too few for its statistics. An
official one has the durations, numbers and seeds of MLPerf's own rules, which LoadGen carries inside.

    SingleStream   the next query comes when the last one is answered      p90 of the latency
    MultiStream    the same, with eight samples a query                    p99 of the latency
    Server         queries of many clients, at random (Poisson)            highest rate whose p99 is under a bound
    Offline        all samples in one query                                samples/s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.scenarios.logs import Summary
from semblance.errors import RuntimeMissing

PACKAGE = "mlcommons-loadgen"
RULES = "resnet50"  # the task of MLPerf whose rules an official run has: images in, one pass of a network
OFFICIAL_IMAGES = 1024  # in memory, by those rules
SAMPLES_PER_QUERY = 8  # of MultiStream

_SLACK = 2  # how much faster than expected a system may be before LoadGen runs out of queries


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is measured, under the name that LoadGen's summary gives it."""

    name: str
    metric: str
    unit: str
    figure: str
    per_unit: float = 1.0  # of LoadGen's unit in ours
    is_queued: bool = False  # whether queries wait for each other in the system

    def value(self, summary: Summary) -> float:
        """LoadGen's figure, in `unit`."""
        return summary.figure(self.figure) / self.per_unit


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("SingleStream", "p90 latency", "ms", "90.0th percentile latency (ns)", 1e6),
        Scenario("MultiStream", "p99 latency", "ms", "99.0th percentile latency (ns)", 1e6),
        Scenario("Server", "rate", "queries/s", "Completed samples per second", is_queued=True),
        Scenario("Offline", "throughput", "samples/s", "Samples per second"),
    )
}
SERVER_P99 = "99.00 percentile latency (ns)"


@dataclass(frozen=True, slots=True)
class Expected:
    """About how fast a system is, so that LoadGen prepares queries enough."""

    one_ms: float  # of a call with one sample
    eight_ms: float  # of a call with as many as a query of MultiStream has
    samples_per_sec: float  # in the largest batches

    def times(self, factor: float) -> Expected:
        """The same of a system that many times as fast."""
        return Expected(self.one_ms / factor, self.eight_ms / factor, self.samples_per_sec * factor)

    def num_samples(self, settings: Any) -> float:
        """About how many samples a run with these settings of LoadGen asks for."""
        per_sec = {
            "SingleStream": 1e3 / self.one_ms,
            "MultiStream": 1e3 * SAMPLES_PER_QUERY / self.eight_ms,
            "Server": settings.server_target_qps,
            "Offline": settings.offline_expected_qps,
        }[settings.scenario.name]
        return float(settings.min_duration_ms / 1e3 * per_sec)


def import_loadgen() -> Any:
    """The module. Raises RuntimeMissing where it is not installed."""
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise RuntimeMissing(f"MLPerf's scenarios need its LoadGen; pip install {PACKAGE}") from error
    return mlperf_loadgen


def performance_settings(
    loadgen: Any,
    scenario: str,
    expected: Expected,
    *,
    seconds: float,
    is_official: bool,
    num_samples: int,
    latency_ms: float,
    rate_per_sec: float | None = None,
) -> Any:
    """Settings of a run that is timed. `rate_per_sec` and the bound `latency_ms` are of Server alone."""
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    if is_official:
        settings.FromConfig("", RULES, scenario, 0)  # 0: its own rules, no file
        settings.performance_sample_count_override = min(num_samples, OFFICIAL_IMAGES)
    else:
        settings.min_duration_ms = max(1, round(1e3 * seconds))
        settings.min_query_count = 1
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY
    settings.single_stream_expected_latency_ns = 1e6 * expected.one_ms / _SLACK
    settings.multi_stream_expected_latency_ns = 1e6 * expected.eight_ms / _SLACK
    settings.offline_expected_qps = expected.samples_per_sec
    settings.server_target_latency_ns = round(1e6 * latency_ms)
    if rate_per_sec is not None:
        settings.server_target_qps = rate_per_sec
    return settings


def accuracy_settings(loadgen: Any, scenario: str, *, num_samples: int, rate_per_sec: float | None = None) -> Any:
    """Settings of a run that is not timed and asks for the first `num_samples` samples, once each."""
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    settings.mode = loadgen.TestMode.AccuracyOnly
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY
    settings.accuracy_sample_count_override = num_samples
    if rate_per_sec is not None:
        settings.server_target_qps = rate_per_sec
    return settings
