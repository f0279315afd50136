"""Result files: written one record at a time, read back the same, and refused where they are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.records import FORMAT, Writer, newest, read
from semblance.errors import InputError


def written(path: Path, *records: dict[str, object]) -> Path:
    writer = Writer.begin(path, profile="quick", threads=2, packages=("numpy",))
    for record in records:
        writer.append(record)
    return path


def test_a_file_gives_back_what_was_appended_in_its_order(tmp_path: Path) -> None:
    records = [
        {"kind": "race", "suite": "latency", "seconds": [[0.25, 0.5], [1e-8]]},
        {"kind": "absent", "suite": "latency"},
        {"kind": "race", "suite": "index", "seconds": []},
    ]
    found = read(written(tmp_path / "new" / "r.jsonl", *records))
    assert found.records == records
    assert found.of("race") == [records[0], records[2]]
    assert found.of("race", suite="index") == [records[2]]
    assert found.of("check") == []


def test_the_first_record_says_on_what_and_when(tmp_path: Path) -> None:
    run = read(written(tmp_path / "r.jsonl")).run
    assert (run["format"], run["profile"], run["threads"]) == (FORMAT, "quick", 2)
    assert run["versions"].keys() == {"python", "numpy"}
    assert run["machine"]["processor"]
    assert isinstance(run["machine"]["cpu_features"], list)
    assert "fpu" not in run["machine"]["cpu_features"]  # only what arithmetic on arrays is made of
    assert run["started"].endswith("+00:00")


def test_a_run_begun_again_replaces_the_file(tmp_path: Path) -> None:
    written(tmp_path / "r.jsonl", {"kind": "check"})
    assert read(written(tmp_path / "r.jsonl")).records == []


def test_a_record_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    writer = Writer.begin(tmp_path / "r.jsonl", profile="quick", threads=1, packages=())
    with pytest.raises(InputError, match="kind must be one of run, race"):
        writer.append({"kind": "rumour"})
    with pytest.raises(ValueError, match="Out of range float"):
        writer.append({"kind": "check", "found": float("nan")})
    assert read(writer.path).records == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "does not begin with the description of a run"),
        ('{"kind":"check"}\n', "does not begin with the description of a run"),
        ('{"kind":"run","format":99}\n', "of format 99"),
        ('{"kind":"run","format":1}\n{"kind":', "line 2 is not JSON"),
        ('{"kind":"run","format":1}\n[1]\n', "line 2 is no record"),
    ],
)
def test_what_is_no_result_file_is_told_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(InputError, match=told):
        read(tmp_path / "r.jsonl")


def test_the_newest_is_the_one_begun_last_whatever_its_name(tmp_path: Path) -> None:
    for name, started in (("z", "2026-01-01"), ("a", "2026-02-01"), ("m", "2025-12-31")):
        run = {"kind": "run", "format": FORMAT, "started": started}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(run) + "\n")
    assert newest(tmp_path).name == "a.jsonl"
    with pytest.raises(InputError, match="no result file; run `make bench`"):
        newest(tmp_path / "elsewhere")
