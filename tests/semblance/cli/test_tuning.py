"""`tune`: what it tells, what it keeps, and how that is undone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semblance.card import read_card
from semblance.inference import tuned
from semblance.inference.encoder import Encoder
from semblance.inference.models import cache_folder, find_model
from tests.conftest import make_tiny_model

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--budget-s", 8, "--window-s", 0.02)
SHORT = ("--budget-s", 8, "--window-s", 0.01, "--max-batch", 2)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(tuned, "folder", lambda: tmp_path / "home" / "tuned")


def record(model: str) -> tuned.Tuned | None:
    path = find_model(model)
    return tuned.find(path, read_card(path))


def test_a_shipped_model_is_tuned_told_kept_used_and_forgotten(run: Run) -> None:
    pytest.importorskip("openvino")
    code, out, err = run("tune", "autoencoder", *QUICK)
    assert code == 0, err
    assert re.search(r"autoencoder on cpu, \d+ threads? in 1 stream: [\d,]+ images/s in batches of", err)
    for word in ("backend", "precision", "batch", "threads", "streams", "images/s", "p50 ms", "p99 ms", "stable"):
        assert word in out
    assert re.search(r"^ ?cuda +fp32 ", out.partition("Not run")[2], re.MULTILINE)
    assert "Soonest for a single image: autoencoder on " in out
    assert "Most images: autoencoder on " in out
    assert "semblance embed YOUR_FOLDER --model autoencoder --out GALLERY\n" in out
    assert "semblance tune autoencoder --forget" in out
    kept = record("autoencoder")
    assert kept
    encoder = Encoder.load("autoencoder")
    assert (encoder.backend, encoder.max_batch) == (kept.backend, kept.max_batch)
    assert "semblance tune" in encoder.description
    code, out, err = run("tune", "autoencoder", "--forget")
    assert (code, err) == (0, "")
    assert "Forgotten: " in out
    assert record("autoencoder") is None
    assert "Nothing was kept for autoencoder" in run("tune", "autoencoder", "--forget")[1]


def test_json_has_every_candidate(answer: Any, tiny_model: Any) -> None:
    found = answer("tune", tiny_model.path, *SHORT)
    assert found["best"] in found["rows"]
    assert found["soonest"]["batch"] == 1
    final = [row for row in found["rows"] if row["is_final"]]
    assert final
    for row in final:
        assert {"images_per_sec", "p50_ms", "tail_ms", "tail_name", "is_stable", "num_calls", "backend"} <= row.keys()
    assert {"cpu", "cuda"} <= {row["backend"] for row in found["rows"]}
    (cuda,) = [row for row in found["rows"] if row["backend"] == "cuda"]
    assert "CUDAExecutionProvider" in cuda["note"]
    assert [Path(path).parent.name for path in found["kept"]] == ["tuned"]
    assert answer("tune", tiny_model.path, "--forget")["forgotten"] == found["kept"]


def test_a_dry_run_keeps_nothing_and_names_all_options(run: Run) -> None:
    code, out, err = run("tune", "autoencoder", "--dry-run", "--backend", "cpu", *SHORT)
    assert code == 0, err
    assert re.search(
        r"--model autoencoder --out GALLERY --backend cpu --threads \d+ --streams \d+ --batch \d+$", out, re.MULTILINE
    )
    assert "Nothing was kept" in out
    assert record("autoencoder") is None


def test_a_variant_is_used_by_its_own_name_if_its_card_says_that_it_passed(answer: Any, run: Run) -> None:
    cache_folder().mkdir(parents=True)
    mine = make_tiny_model(cache_folder() / "mine.onnx", height=32, width=32, channels=3, dimension=256)
    gate = {"passed": True, "lost_p_at_10": 0.001}
    make_tiny_model(
        cache_folder() / "mine.int8.onnx", name="mine", precision="int8", gate=gate, height=32, width=32, channels=3,
        dimension=256,
    )  # fmt: skip
    make_tiny_model(
        cache_folder() / "mine.fp16.onnx", name="mine", precision="fp16", height=32, width=32, channels=3, dimension=256
    )
    found = answer("tune", "mine", "--backend", "cpu", *SHORT)
    assert {row["model"] for row in found["rows"] if "images_per_sec" in row} == {"mine", "mine.int8"}
    (left_out,) = [row for row in found["rows"] if row["model"] == "mine.fp16"]
    assert "export it again" in left_out["note"]
    assert f"--model {found['best']['model']} " in found["command"]
    assert record("mine")
    assert record("mine.int8")
    assert record("mine.fp16") is None
    out = run("tune", "mine", "--backend", "cpu", "--ungated", *SHORT)[1]
    assert "Note: mine.fp16: its card does not say" in out
    assert record("mine.fp16")
    assert len(answer("tune", "mine", "--forget")["forgotten"]) == 3
    assert mine.path.is_file()


def test_a_bound_that_nothing_keeps_to_is_a_failure_with_the_nearest(failure: Any, run: Run, tiny_model: Any) -> None:
    command = ("tune", tiny_model.path, "--backend", "cpu", "--max-latency-ms", 1e-6, *SHORT)
    said = failure(*command)
    assert re.search(r"nothing keeps to 1e-06 ms; the nearest is tiny on cpu, ", said)
    code, out, _ = run(*command, "--json")
    assert code == 1
    document = json.loads(out)
    assert (document["best"], document["command"], document["kept"]) == (None, None, [])


def test_where_nothing_runs_the_causes_are_told(failure: Any, run: Run, tiny_model: Any) -> None:
    said = failure("tune", tiny_model.path, "--backend", "cuda", *SHORT)
    assert "nothing of" in said
    assert "CUDAExecutionProvider" in said
    assert "Not run" in run("tune", tiny_model.path, "--backend", "cuda", *SHORT)[1]


def test_mistakes(failure: Any, tiny_model: Any) -> None:
    assert "unknown model 'none'" in failure("tune", "none")
    assert "unknown backend 'tpu'" in failure("tune", tiny_model.path, "--backend", "tpu")
    assert "auto" in failure("tune", tiny_model.path, "--backend", "auto")
    assert "budget_s must be above 0" in failure("tune", tiny_model.path, "--budget-s", 0)
