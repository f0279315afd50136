"""Races between contenders whose results are known: what is kept, what is judged, and what one that fails does.

How long anything takes depends on the machine and on what else it does: `python -m bench check` measures it.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contenders.known.sleeps_5_ms import TAKES_S
from bench.entries import ceilings, entry
from bench.racing import Entry, Judge, Planned, Race, Runner, Workload, run_race, started
from bench.records import Record
from bench.worker import Failed, Turn, come_to_rest, peak_bytes
from semblance.errors import InputError
from semblance.inference.models import zoo_folder
from semblance.inference.session import Session

SIESTA = Entry(kind="known", contender="sleeps_5_ms", threads=1)
NUMBERS = [Workload(name=f"number {number}", given=number, items=number, unit="calls") for number in (1, 2)]


def race(entries: list[Entry], workloads: list[Workload], judge: Judge | None = None) -> list[Record]:
    return run_race(
        Race(suite="known", name="known", subject="known", entries=entries, workloads=workloads, judge=judge,
             turn_s=0.02, budget_s=0)
    )  # fmt: skip


def test_every_call_of_every_round_is_kept() -> None:
    records = race([SIESTA, Entry(kind="known", contender="sleeps_5_ms", threads=1, mark="again")], NUMBERS)
    assert [(each["entry"], each["workload"]["name"], each["items"]) for each in records] == [
        (name, f"number {number}", number) for number in (1, 2) for name in ("sleeps_5_ms", "sleeps_5_ms again")
    ]
    for each in records:
        assert len(each["seconds"]) == 5  # rounds, the fewest
        assert {len(turn) for turn in each["seconds"]} <= {1, 2, 3, 4}  # as many as fit into a turn
        assert min(second for turn in each["seconds"] for second in turn) >= TAKES_S  # a sleep is never shorter
        assert (each["role"], each["threads"], each["unit"], each["answers"]) == ("known", 1, "calls", None)


def test_a_contender_that_fails_is_absent_and_the_others_go_on() -> None:
    records = race([Entry(kind="known", contender="fails", threads=1), SIESTA], NUMBERS)
    absent = [each for each in records if each["kind"] == "absent"]
    assert [(each["contender"], each["reason"]) for each in absent] == [
        ("fails", "number 1: ValueError: it was to fail, and did")
    ]
    assert [each["entry"] for each in records if each["kind"] == "race"] == ["sleeps_5_ms"] * 2


def test_one_that_cannot_load_is_absent_with_its_message(tmp_path: Path) -> None:
    missing = entry(tmp_path / "nothing.onnx", "int8", "cpu", threads=1, max_batch=1)
    (absent,) = race([missing], NUMBERS)
    assert absent["kind"] == "absent"
    assert "nothing.onnx" in absent["reason"]


def test_one_whose_package_is_not_here_is_absent_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.contenders.known.sleeps_5_ms as file

    monkeypatch.setattr(file, "PACKAGES", ("no-such-distribution",))
    (absent,) = race([SIESTA], NUMBERS)
    assert absent["reason"] == "no-such-distribution is not installed (pip install no-such-distribution)"


def test_one_that_ends_is_told_by_its_status() -> None:
    with started([SIESTA]) as begun:
        runner = begun["sleeps_5_ms"]
        assert isinstance(runner, Runner)
        runner.process.kill()
        runner.process.join()
        assert runner.ask(object()) == Failed("its process ended with status -9; what it said is above")  # type: ignore[arg-type]


def test_one_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with started([SIESTA]) as begun:
        runner = begun["sleeps_5_ms"]
        assert isinstance(runner, Runner)
        monkeypatch.setattr("bench.racing._PATIENCE_S", 0.1)
        assert runner.ask(Turn(calls=10_000, warm=False)) == Failed("it did not answer within 0.1 s")
        assert not runner.process.is_alive()


def test_a_process_rests_when_its_threads_sleep() -> None:
    ends = time.perf_counter() + 0.2

    def look_for_work() -> None:
        while time.perf_counter() < ends:
            pass

    thread = threading.Thread(target=look_for_work)
    thread.start()
    assert come_to_rest() >= 0.01
    assert not thread.is_alive()


def test_answers_are_held_against_the_truth_or_against_another_entry() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    path = zoo_folder() / "siamese.onnx"
    workload = [Workload(name="four", given=images, items=4)]
    engine = entry(path, "fp32", "cpu", threads=1, max_batch=4)
    wrong = Entry(kind="known", contender="shuffles", threads=1, options=engine.options, least=engine.least)

    def share_equal(found: Any, truth: Any) -> float:
        return float(np.isclose(found, truth, atol=1e-6).all(axis=1).mean())

    vectors = Session(path, threads=1).run(images)
    by_truth = race([engine, wrong], workload, Judge("share equal", "truth", share_equal, {"four": vectors}))
    by_entry = race([engine, wrong], workload, Judge("share equal", "ort_cpu fp32", share_equal))
    unjudged = race([wrong], workload, Judge("share equal", "ort_cpu fp32", share_equal))  # who was to tell is away
    for right, shuffled in (by_truth, by_entry):
        assert (right["answers"]["value"], right["answers"]["is_right"]) == (1.0, True)
        assert (shuffled["answers"]["value"], shuffled["answers"]["is_right"]) == (0.0, False)
    assert unjudged[0]["answers"] is None


@pytest.mark.parametrize("found", [float("nan"), ValueError("operands could not be broadcast together")])
def test_answers_that_cannot_be_judged_are_wrong_and_stop_nobody(found: float | ValueError) -> None:
    def value(answers: Any, truth: Any) -> float:
        if isinstance(found, ValueError):
            raise found
        return found

    judged = Entry(kind="known", contender="sleeps_5_ms", threads=1, least=0.5)
    (record, _) = race([judged], NUMBERS, Judge("agreement", "truth", value, {"number 1": 1, "number 2": 2}))
    assert (record["answers"]["value"], record["answers"]["is_right"]) == (0.0, False)


def test_an_entry_takes_part_only_in_its_workloads_and_ceilings_count_operations() -> None:
    only = Entry(kind="known", contender="sleeps_5_ms", threads=1, only=frozenset({"number 2"}), mark="half")
    assert [each["workload"]["name"] for each in race([only], NUMBERS)] == ["number 2"]
    product = ceilings(1)[0]
    (record, _) = race([product], NUMBERS)
    assert (record["items"], record["unit"], record["role"]) == (2 * 2048**3, "operations", "ceiling")


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two entries have one name: sleeps_5_ms, sleeps_5_ms"):
        race([SIESTA, SIESTA], NUMBERS)


def test_a_process_has_its_own_peak_and_the_threads_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    ballast = np.ones(50_000_000)  # 400 MB of this process, of which a contender's peak must show nothing
    with started([SIESTA]) as begun:
        runner = begun["sleeps_5_ms"]
        assert isinstance(runner, Runner)
        environment = Path(f"/proc/{runner.process.pid}/environ")
        if environment.is_file():
            assert b"OMP_NUM_THREADS=1\0" in environment.read_bytes()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    (record, _) = race([SIESTA], NUMBERS)
    own = peak_bytes()
    if own is not None:
        assert own > ballast.nbytes > record["peak_bytes"] > 1_000_000


def test_a_planned_race_makes_its_data_when_it_is_run_and_only_what_was_chosen() -> None:
    made = []

    def load() -> tuple[list[Workload], None]:
        made.append(True)
        return NUMBERS, None

    again = Entry(kind="known", contender="sleeps_5_ms", threads=1, mark="again")
    planned = Planned(
        suite="known", name="known", subject="known", entries=[SIESTA, again],
        workloads=[each.name for each in NUMBERS], load=load,
    )  # fmt: skip
    assert made == []
    chosen = planned.race({"sleeps_5_ms again"}, {"number 2"})
    assert made == [True]
    assert (list(chosen.entries), list(chosen.workloads)) == ([again], NUMBERS[1:])
