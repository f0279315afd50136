"""What a run does when something goes wrong, and where it writes; what is measured is tested where it is measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from bench import run
from bench.originals import measuring
from bench.records import read
from semblance.errors import BackendError


def given(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(list(arguments))


def test_a_part_that_breaks_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> bool:
        raise ZeroDivisionError

    def checks(profile: str, emit: Any) -> bool:
        emit({"kind": "check", "claim": "it is measured", "found": "it is", "holds": True})
        return True

    monkeypatch.setattr(run, "_stages", breaks)
    monkeypatch.setattr(run, "_check", checks)
    path = tmp_path / "r.jsonl"
    assert run.main(given("--parts", "stages", "check", "--out", str(path))) == 1
    assert [each["claim"] for each in read(path).of("check")] == ["it is measured"]
    assert run.main(given("--parts", "check", "--out", str(path))) == 0


def test_a_run_ends_with_its_page_in_a_folder_that_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_stages", lambda *_: True)
    folder = tmp_path / "new" / "page"
    assert run.main(given("--parts", "stages", "--out", str(tmp_path / "r.jsonl"), "--page", str(folder))) == 0
    assert "<html" in (folder / "report.html").read_text()


def test_no_run_takes_the_place_of_another_of_its_day(tmp_path: Path) -> None:
    first, second = run._new_path(tmp_path, "quick"), None
    first.touch()
    second = run._new_path(tmp_path, "quick")
    assert second.name == f"{first.stem}-2.jsonl"
    second.touch()
    assert run._new_path(tmp_path, "quick").name == f"{first.stem}-3.jsonl"


def test_rows_of_originals_are_measured_as_asked_whatever_one_of_them_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def measure(rows: list[int], **options: Any) -> None:
        asked.append((rows, options["quick"], options["train"], options["threads"], options["weights_resnet101"]))
        if rows == [2]:
            raise BackendError("it was ended for the memory that it took")

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setenv("SEMBLANCE_RESNET101_WEIGHTS", "mine.h5")
    assert run._originals(3, "full", lambda _: None) is False
    assert asked == [([row], False, True, 3, "mine.h5") for row in measuring.MEASURES]
