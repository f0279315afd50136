"""`info` and `models`: what there is, of finished, unfinished and damaged galleries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_tiny_model

Run = Callable[..., tuple[int, str, str]]


def test_info_says_what_is_inside(run: Run, answer: Any, gallery: Path, photos: Path, tiny_model: Any) -> None:
    facts = answer("info", gallery)
    assert (facts["images"], facts["unusable"], facts["removed"], facts["shards"]) == (12, 1, 0, 3)
    assert facts["fingerprint"] == tiny_model.card.fingerprint
    chosen = {"image_column": None, "label_column": None, "labels_sha256": None}
    place = {"source": str(photos), "first_key": 0, "num_items": 13, "is_complete": True}
    assert facts["sources"] == [{**place, **chosen}]
    assert facts["is_complete"]
    files = [file for file in gallery.rglob("*") if file.is_file() and file.name != "manifest.json"]
    assert facts["bytes"] == sum(file.stat().st_size for file in files)
    code, out, _ = run("info", gallery)
    assert code == 0
    assert "tiny, fp32" in out
    assert tiny_model.card.fingerprint[:40] in out


def test_info_reads_the_manifest_alone(answer: Any, failure: Any, gallery: Path) -> None:
    before = answer("info", gallery)
    for file in [*(gallery / "shards").iterdir(), *(gallery / "index").iterdir()]:
        file.unlink()
    assert answer("info", gallery) == before
    (gallery / "manifest.json").write_text("{")
    assert "manifest" in failure("info", gallery)


def test_info_on_an_unfinished_gallery(run: Run, answer: Any, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 5, "--strict")
    facts = answer("info", tmp_path / "g")
    assert not facts["is_complete"]
    assert facts["index_generation"] is None
    assert facts["num_unindexed"] == facts["images"] > 0
    out = run("info", tmp_path / "g")[1]
    assert f"unfinished: {facts['images']} pictures" in out


def test_info_counts_what_was_removed_and_what_is_not_indexed(answer: Any, gallery: Path, photos: Path) -> None:
    answer("remove", gallery, "--key", 3)
    facts = answer("info", gallery)
    assert (facts["images"], facts["removed"], facts["num_unindexed"]) == (11, 1, 0)


def test_models_lists_the_zoo(run: Run) -> None:
    code, out, _ = run("models", "--json")
    assert code == 0
    assert {"autoencoder", "siamese"} <= {model["name"] for model in json.loads(out) if model["problem"] is None}
    assert "siamese" in run("models")[1]


def test_models_lists_each_file_by_the_name_that_finds_it(
    run: Run, answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    gates: dict[str, dict[str, Any]] = {
        "int8": {"passed": True, "lost_p_at_10": 0.0012}, "fp16": {"passed": False, "lost_p_at_10": 0.03},
        "bf16": {},
    }  # fmt: skip
    make_tiny_model(tmp_path / "models" / "mine.onnx")
    for precision, gate in gates.items():
        make_tiny_model(tmp_path / "models" / f"mine.{precision}.onnx", name="mine", precision=precision, gate=gate)
    names = [model["name"] for model in answer("models")]
    assert names[-4:] == ["mine", "mine.bf16", "mine.fp16", "mine.int8"]
    monkeypatch.setenv("COLUMNS", "140")
    out = run("models")[1]
    rows = {cells[1]: cells[-2] for line in out.splitlines() if len(cells := [c.strip() for c in line.split("│")]) > 3}
    assert rows["mine"] == rows["siamese"] == ""
    assert rows["mine.int8"] == "0.0012"
    assert rows["mine.fp16"] == "0.0300, too many"
    assert rows["mine.bf16"] == "not measured"
    vague = {"passed": True, "lost_p_at_10": 0.001, "warning": "few images"}
    make_tiny_model(tmp_path / "models" / "mine.bf16.onnx", name="mine", precision="bf16", gate=vague)
    assert "0.0010, which proves little" in run("models")[1]
