"""MLPerf's scenarios, run for real and as briefly as they can be; and what must fail, failing. No time is asserted."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.scenarios.accuracy import compare, read_answers
from bench.scenarios.check import check
from bench.scenarios.contenders import Asked, Contender
from bench.scenarios.fresh import RunFailed, measure_fresh
from bench.scenarios.logs import parse_summary, read_summary
from bench.scenarios.measuring import Job, long_enough, server
from bench.scenarios.rates import highest_rate
from bench.scenarios.running import Run
from bench.scenarios.scenario import SCENARIOS, Expected, import_loadgen, performance_settings
from bench.scenarios.system import InPlace, Queued
from semblance.errors import RuntimeMissing
from semblance.inference.models import zoo_folder

ROOT = Path(__file__).parents[2]
SECONDS = 0.2

needs_loadgen = pytest.mark.skipif(
    importlib.util.find_spec("mlperf_loadgen") is None, reason="mlcommons-loadgen is not installed"
)


def job(folder: Path, scenario: str, contender: str, **fields: Any) -> Job:
    asked = Asked(contender=contender, **fields)
    bound_ms = 1e3 if contender == "engine" else 1.0  # the others' rate does not matter
    return Job(scenario=scenario, asked=asked, folder=folder, seconds=SECONDS, latency_ms=bound_ms, num_accuracy=16)


# ----------------------------------------------------------------------------------------------------------------------
# The engine in each scenario


@pytest.fixture(scope="module", params=list(SCENARIOS))
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fashion_mnist_dir: Path) -> Any:
    if importlib.util.find_spec("mlperf_loadgen") is None:
        pytest.skip("mlcommons-loadgen is not installed")
    fields = {"model": zoo_folder() / "siamese.onnx", "backend": "cpu", "num_images": 32, "max_batch": 8}
    folder = tmp_path_factory.mktemp(request.param)
    return measure_fresh(job(folder, request.param, "engine", form="encoded", **fields))


def test_loadgens_summary_is_read_whole(measured: Any) -> None:
    summary, scenario = measured["summary"], SCENARIOS[measured["scenario"]]
    assert summary["scenario"] == scenario.name
    assert summary["is_valid"] == measured["is_valid"] == all(summary["satisfied"].values())
    assert {"Min duration", "Min queries", "Early stopping"} <= set(summary["satisfied"])
    assert measured["value"] == summary["figures"][scenario.figure] / scenario.per_unit > 0
    if (
        scenario.name == "MultiStream" and measured["num_queries"] < 662
    ):  # too few queries for a p99, and LoadGen says so
        assert not measured["is_valid"]
        assert "Need to process at least 662 queries" in " ".join(summary["early_stopping"])
    if scenario.name == "SingleStream" and measured["is_valid"]:
        assert summary["estimates_ns"]["90.0"] >= summary["figures"]["50.00 percentile latency (ns)"]


def test_raw_latencies_are_those_that_loadgen_judged(measured: Any) -> None:
    latencies, figures = sorted(measured["latencies_ns"]), measured["summary"]["figures"]
    assert len(latencies) == measured["num_queries"]
    assert latencies[-1] == figures["Max latency (ns)"]
    if measured["scenario"] == "Offline":  # whose other figures are of samples
        return
    assert latencies[0] == figures["Min latency (ns)"]
    for percent in (50, 90, 99):
        assert latencies[len(latencies) * percent // 100] == figures[f"{percent}.00 percentile latency (ns)"]


def test_every_answer_is_the_encoders(measured: Any) -> None:
    accuracy = measured["accuracy"]
    assert accuracy["holds"]
    assert accuracy["num_samples"] == 16
    assert accuracy["num_wrong"] == accuracy["num_missing"] == accuracy["num_repeated"] == 0


def test_the_accuracy_log_holds_whole_embeddings(measured: Any) -> None:
    numbers, answers = read_answers(Path(measured["logs"], "accuracy"))
    assert sorted(numbers.tolist()) == list(range(16))
    assert {answer.shape for answer in answers} == {(measured["dimension"],)}


def test_a_result_says_what_it_is_of(measured: Any) -> None:
    assert (measured["model"], measured["precision"], measured["backend"]) == ("siamese", "fp32", "cpu")
    assert (measured["threads"], measured["streams"], measured["max_batch"]) == (1, 1, 8)
    assert measured["is_decode_inside"]
    assert measured["images"] == "32 of the Fashion-MNIST test images, PNG"
    assert measured["loadgen"]
    assert (measured["search"] is not None) == (measured["scenario"] == "Server")
    samples_per_query = {"MultiStream": 8, "Offline": measured["num_samples"]}.get(measured["scenario"], 1)
    assert measured["num_samples"] == measured["num_queries"] * samples_per_query


@needs_loadgen
def test_the_command_measures_with_and_without_decoding(fashion_mnist_dir: Path, tmp_path: Path) -> None:
    ended = run("autoencoder", "--scenarios", "SingleStream", "--seconds", "0.2", "--images", "16", "--threads", "1",
                "--out", str(tmp_path))  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout.splitlines()[-1])
    assert document["machine"]["versions"]["mlcommons-loadgen"]
    assert [each["is_decode_inside"] for each in document["results"]] == [False, True]
    assert ended.stdout.count("16 of 16") == 2
    for form in ("decoded", "encoded"):
        assert read_summary(tmp_path / "autoencoder" / form / "SingleStream" / "performance-0").figures


# ----------------------------------------------------------------------------------------------------------------------
# Systems that are wrong or fail


@needs_loadgen
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_other_samples_embeddings_are_found(scenario: str, tmp_path: Path) -> None:
    accuracy = measure_fresh(job(tmp_path, scenario, "lies"))["accuracy"]
    assert not accuracy["holds"]
    assert accuracy["num_wrong"] > 0
    assert accuracy["num_missing"] == accuracy["num_repeated"] == 0


@needs_loadgen
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_an_exception_ends_the_run_with_its_message(scenario: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=f"{scenario}, decoded: ValueError: it was to fail, and did"):
        measure_fresh(job(tmp_path, scenario, "fails"))


@needs_loadgen
def test_too_few_embeddings_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"8 samples were asked for, the embeddings are \[7, 4\]"):
        measure_fresh(job(tmp_path, "MultiStream", "forgets"))


@needs_loadgen
def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="Server, decoded: its process ended with status 7"):
        measure_fresh(job(tmp_path, "Server", "dies"))


@needs_loadgen
def test_a_bound_that_no_rate_holds_is_no_value(tmp_path: Path) -> None:
    asked = Asked(contender="takes_5_ms")
    measured = measure_fresh(
        Job(scenario="Server", asked=asked, folder=tmp_path, seconds=0.05, latency_ms=1, num_accuracy=16)
    )
    assert measured["value"] is None
    assert not measured["is_valid"]
    assert measured["accuracy"]["holds"]
    assert 1 < len(measured["search"]["probes"]) <= 5
    assert all(probe["p99_ms"] >= 5 for probe in measured["search"]["probes"])


def test_the_check_tells_of_a_harness_that_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own claims, against a harness that measures twice the time, sees no lie and swallows failures."""

    def untrue(job: Job) -> dict[str, Any]:
        figures = {"50.00 percentile latency (ns)": 10e6}
        accuracy = {"holds": True, "num_wrong": 0, "num_samples": 16}
        return {"value": 10.0, "summary": {"figures": figures}, "accuracy": accuracy}

    monkeypatch.setattr("bench.scenarios.check.measure_fresh", untrue)
    lines = check(tmp_path, seconds=1)
    assert len(lines) == 11
    assert not any(each["holds"] for each in lines)


# ----------------------------------------------------------------------------------------------------------------------
# The system, without LoadGen


class Collector:
    """What a LoadGen would be told: the bytes of each answer, by its identifier."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()

    def QuerySampleResponse(self, identifier: int, address: int, size: int) -> tuple[int, int, int]:  # noqa: N802
        return identifier, address, size

    def QuerySamplesComplete(self, responses: list[tuple[int, int, int]]) -> None:  # noqa: N802
        with self._lock:
            self.answers += [(identifier, ctypes.string_at(address, size)) for identifier, address, size in responses]


def contender(embed: Any, *, streams: int = 1) -> Contender:
    samples: list[Any] = [np.array([number], np.uint8) for number in range(256)]
    return Contender(samples=samples, embed=embed, own=lambda count: doubled(samples[:count]), max_batch=8,
                     streams=streams)  # fmt: skip


def doubled(samples: list[Any]) -> NDArray[np.float32]:
    """A view that is not contiguous, as an embedding may be."""
    return np.repeat(np.stack(samples).astype(np.float32), 4, axis=1)[:, ::2]


def queries(count: int) -> list[Any]:
    return [SimpleNamespace(id=1000 + number, index=number % 256) for number in range(count)]


@pytest.mark.parametrize("streams", [1, 4])
def test_a_queue_answers_every_query_once_and_with_its_own(streams: int) -> None:
    collector, failures = Collector(), list[BaseException]()
    system = Queued(contender(doubled, streams=streams), collector, failures.append)
    for query in queries(2000):
        system.issue([query])
    system.close()
    assert failures == []
    assert system.num_issued == system.num_answered == sum(system.batch_sizes) == 2000
    assert max(system.batch_sizes) <= 8
    expected = {query.id: np.full(2, query.index, np.float32).tobytes() for query in queries(2000)}
    assert len(collector.answers) == 2000
    assert dict(collector.answers) == expected


def test_a_queue_takes_what_waits_up_to_a_batch() -> None:
    may_go, sizes = threading.Event(), list[int]()

    def embed(samples: list[Any]) -> NDArray[np.float32]:
        may_go.wait()
        sizes.append(len(samples))
        return doubled(samples)

    system = Queued(contender(embed), Collector(), pytest.fail)
    system.issue(queries(21))
    may_go.set()
    system.close()
    assert sum(sizes) == 21
    assert sizes[1:-1] == [8] * len(sizes[1:-1])  # the first may have been taken when few were there


def test_in_place_answers_in_pieces() -> None:
    collector = Collector()
    system = InPlace(contender(doubled), collector, pytest.fail, at_once=16)
    system.issue(queries(40))
    assert [identifier for identifier, _ in collector.answers] == list(range(1000, 1040))
    assert system.num_answered == 40


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_nothing_is_answered_after_a_failure_and_nothing_raised(kind: type[BaseException]) -> None:
    def embed(samples: list[Any]) -> NDArray[np.float32]:
        if any(sample[0] == 5 for sample in samples):
            raise kind("no")
        return doubled(samples)

    collector, failures = Collector(), list[BaseException]()
    system = InPlace(contender(embed), collector, failures.append, at_once=1)
    system.issue(queries(20))
    assert [type(each) for each in failures] == [kind]
    assert len(collector.answers) == system.num_answered == 5


# ----------------------------------------------------------------------------------------------------------------------
# Answers against embeddings


@pytest.fixture
def own() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


def test_answers_that_are_rounded_otherwise_are_right(own: NDArray[np.float32]) -> None:
    order = np.random.default_rng(1).permutation(20)
    found = compare(order, list(own[order] * np.float32(1 + 1e-6)), own)
    assert found.holds
    assert 0 < found.max_difference < 1e-5


def test_exchanged_answers_are_both_wrong(own: NDArray[np.float32]) -> None:
    exchanged = own.copy()
    exchanged[[3, 11]] = own[[11, 3]]
    found = compare(np.arange(20), list(exchanged), own)
    assert not found.holds
    assert (found.num_wrong, found.first_wrong) == (2, (3, 11))


def test_a_nearer_neighbour_is_wrong_however_near(own: NDArray[np.float32]) -> None:
    """Within the tolerance of few bits, and still another's."""
    own[4] = own[9] * np.float32(1.001)
    answers = own.copy()
    answers[4] = own[9]
    assert compare(np.arange(20), list(answers), own, precision="int8").first_wrong == (4,)


def test_the_same_picture_twice_is_right(own: NDArray[np.float32]) -> None:
    own[7] = own[2]
    assert compare(np.arange(20), list(own), own).holds


def test_missing_and_repeated_answers_are_counted(own: NDArray[np.float32]) -> None:
    numbers = np.array([*range(18), 17])
    found = compare(numbers, list(own[numbers]), own)
    assert (found.num_wrong, found.num_missing, found.num_repeated, found.holds) == (0, 2, 1, False)


def test_answers_of_no_number_or_another_length_are_wrong(own: NDArray[np.float32]) -> None:
    answers = [each.copy() for each in own]
    answers[1][0] = np.nan
    answers[6] = answers[6][:4]
    assert compare(np.arange(20), answers, own).first_wrong == (1, 6)


# ----------------------------------------------------------------------------------------------------------------------
# Rates, on made-up curves


@pytest.mark.parametrize("capacity", [0.7, 40.0, 100.0, 5000.0])
def test_the_highest_rate_under_the_bound_is_found(capacity: float) -> None:
    def p99_ms(rate: float) -> float:
        return 2 / (1 - rate / capacity) if rate < capacity else 1e4

    highest = capacity * (1 - 2 / 15)  # where the curve meets 15 ms
    found = highest_rate(p99_ms, bound_ms=15, start_per_sec=100, most_probes=30)
    assert found.rate_per_sec is not None
    assert highest / 1.05 <= found.rate_per_sec <= highest
    assert found.is_closed
    assert all(probe.p99_ms == p99_ms(probe.rate_per_sec) for probe in found.probes)
    assert len({probe.rate_per_sec for probe in found.probes}) == len(found.probes) <= 17


def test_a_rate_on_the_bound_holds() -> None:
    assert highest_rate(lambda rate: 15.0, bound_ms=15, start_per_sec=1, most_probes=1).rate_per_sec == 1


def test_a_search_is_bounded_where_the_bound_always_or_never_holds() -> None:
    always = highest_rate(lambda rate: 1.0, bound_ms=15, start_per_sec=3, most_probes=6)
    assert (always.rate_per_sec, always.is_closed, len(always.probes)) == (3 * 2**5, False, 6)
    never = highest_rate(lambda rate: 99.0, bound_ms=15, start_per_sec=64, most_probes=6)
    assert (never.rate_per_sec, never.is_closed) == (None, False)
    assert [probe.rate_per_sec for probe in never.probes] == [64, 32, 16, 8, 4, 2]
    seldom = highest_rate(lambda rate: 99.0, bound_ms=15, start_per_sec=64, least_per_sec=16)
    assert (seldom.rate_per_sec, [probe.rate_per_sec for probe in seldom.probes]) == (None, [64, 32, 16])


def test_a_noisy_curve_gives_a_rate_that_held_itself() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        found = highest_rate(lambda rate: rate / 100 * rng.uniform(0.5, 2), bound_ms=15, start_per_sec=200)
        held = {probe.rate_per_sec for probe in found.probes if probe.p99_ms <= 15}
        over = {probe.rate_per_sec for probe in found.probes if probe.p99_ms > 15}
        assert found.rate_per_sec == max(held)
        assert all(rate > max(held) for rate in over)


# ----------------------------------------------------------------------------------------------------------------------
# Which run counts, with made-up runs


class MadeUp:
    """Runs of a system that holds 15 ms up to 100 queries/s, or up to 90 where they are long; 200 samples/s Offline."""

    def __init__(self, *, is_official: bool) -> None:
        self.job = Job(scenario="Server", asked=Asked(), folder=Path(), seconds=1, is_official=is_official)
        self.lengths: list[float | None] = []

    def performance(self, name: str, expected: Expected, rate: float | None, *, seconds: float | None) -> Run:
        self.lengths.append(seconds)
        allowed = 90 if seconds is None else 100
        return Run(
            Path(f"{rate is not None and rate <= allowed}", f"{expected.samples_per_sec >= 200}", name), 1, None, True
        )


@pytest.fixture
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(folder: Path) -> Any:
        is_held, is_long = (part == "True" for part in folder.parts[:2])
        return SimpleNamespace(
            figure=lambda name: 10e6 if is_held else 20e6, is_valid=is_held, satisfied={"Min duration": is_long}
        )

    monkeypatch.setattr("bench.scenarios.measuring.read_summary", read)


@pytest.mark.usefixtures("_made_up")
def test_server_counts_the_try_at_the_rate_that_was_found() -> None:
    runs: Any = MadeUp(is_official=False)
    final, rate, search = server(runs, Expected(5, 40, 200))
    assert search.is_closed
    assert rate == search.rate_per_sec == 100
    assert final is not None
    assert final.folder.name == "rate-0"
    assert set(runs.lengths) == {1}


@pytest.mark.usefixtures("_made_up")
def test_server_steps_down_until_a_long_run_is_valid() -> None:
    runs: Any = MadeUp(is_official=True)
    final, rate, search = server(runs, Expected(5, 40, 200))
    assert search.rate_per_sec == 100
    assert rate == pytest.approx(100 * 0.95**3)
    assert final is not None
    assert final.folder.name == "official-3"
    assert runs.lengths[-4:] == [None] * 4
    assert set(runs.lengths[:-4]) == {1}  # the tries are short


@pytest.mark.usefixtures("_made_up")
def test_offline_is_asked_for_more_where_it_ends_too_soon() -> None:
    runs: Any = MadeUp(is_official=False)
    assert long_enough(runs, Expected(5, 40, 200)).folder.name == "performance-0"
    assert long_enough(runs, Expected(5, 40, 100)).folder.name == "performance-2"  # 100, 150, 225
    assert long_enough(runs, Expected(5, 40, 1)).folder.name == "performance-3"  # and no more than that


# ----------------------------------------------------------------------------------------------------------------------
# Settings, and what is refused


@needs_loadgen
def test_official_runs_have_mlperfs_lengths() -> None:
    loadgen = import_loadgen()
    for scenario, least in {"SingleStream": 100, "MultiStream": 662, "Server": 100, "Offline": 24576}.items():
        settings = performance_settings(loadgen, scenario, Expected(1, 8, 1000), seconds=0, is_official=True,
                                        num_samples=2000, latency_ms=7.5, rate_per_sec=50)  # fmt: skip
        assert (settings.min_duration_ms, settings.min_query_count) == (600_000, least)
        assert settings.performance_sample_count_override == 1024
        assert settings.schedule_rng_seed != 0  # MLPerf's own
        assert (settings.server_target_latency_ns, settings.server_target_qps) == (7_500_000, 50)


@needs_loadgen
def test_the_number_of_samples_is_foreseen() -> None:
    """So that no trace grows without bound."""
    loadgen, expected = import_loadgen(), Expected(one_ms=2, eight_ms=10, samples_per_sec=1000)
    for scenario, num_samples in {
        "SingleStream": 300e3,
        "MultiStream": 480e3,
        "Server": 30e3,
        "Offline": 600e3,
    }.items():
        settings = performance_settings(loadgen, scenario, expected, seconds=0, is_official=True, num_samples=1024,
                                        latency_ms=15, rate_per_sec=50)  # fmt: skip
        assert expected.num_samples(settings) == pytest.approx(num_samples)


@needs_loadgen
def test_short_runs_are_as_long_as_asked() -> None:
    settings = performance_settings(import_loadgen(), "Offline", Expected(1, 8, 1000), seconds=1.5, is_official=False,
                                    num_samples=16, latency_ms=15)  # fmt: skip
    assert (settings.min_duration_ms, settings.min_query_count, settings.offline_expected_qps) == (1500, 1, 1000)


def test_an_accuracy_runs_summary_is_no_result() -> None:
    with pytest.raises(ValueError, match="has no result"):
        parse_summary("\nNo warnings encountered during test.\n\nNo errors encountered during test.\n")


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(RuntimeMissing, match="pip install mlcommons-loadgen"):
        import_loadgen()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.scenarios", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give models, or --self-check alone"),
        (("siamese", "--self-check"), "give models, or --self-check alone"),
        (("siamese", "--threads", "0"), "must be at least 1"),
        (("siamese", "--seconds", "0"), "must be above 0"),
        (("siamese", "--images", "7"), "--images must be at least 8"),
        (("siamese", "--official", "--images", "100"), "--images must be at least 1024"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], message: str) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr


@needs_loadgen
def test_an_unknown_model_is_one_line() -> None:
    ended = run("nosuch")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: unknown model 'nosuch'")
    assert len(ended.stderr.splitlines()) == 1
