"""The command line: streams, exit codes, JSON, and every mistake a user can make told in one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`run("info", path)` -> exit status, stdout, stderr."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["semblance", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures in two class folders, and one file that only claims to be a picture."""
    rng = np.random.default_rng(3)
    for which in range(12):
        folder = tmp_path / "photos" / ("cats" if which % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{which:02d}.png"), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    (tmp_path / "photos" / "dogs" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def gallery(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> Path:
    code, _, err = run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g")
    assert code == 0, err
    return tmp_path / "g"


def test_embed_reports_as_json_and_keeps_stdout_clean(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    code, out, err = run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["num_images"], report["num_errors"]) == (12, 1)
    assert "onnxruntime" in err


def test_a_picture_of_the_gallery_finds_itself_first(run: Run, gallery: Path, photos: Path, tiny_model: Any) -> None:
    code, out, _ = run("search", gallery, photos / "cats" / "01.png", photos / "dogs" / "04.png", "-k", 3,
                       "--model", tiny_model.path, "--json")  # fmt: skip
    answer = json.loads(out)
    assert code == 0
    assert [query["neighbours"][0]["uri"] for query in answer["queries"]] == ["cats/01.png", "dogs/04.png"]
    assert [query["neighbours"][0]["label"] for query in answer["queries"]] == ["cats", "dogs"]
    assert all(len(query["neighbours"]) == 3 for query in answer["queries"])
    assert answer["queries"][0]["neighbours"][0]["distance"] == pytest.approx(0, abs=1e-4)


def test_search_writes_a_sheet_with_the_pictures(run: Run, gallery: Path, photos: Path, tiny_model: Any) -> None:
    sheet = gallery.parent / "sheet.png"
    code, out, err = run("search", gallery, photos / "cats" / "01.png", "-k", 3, "--model", tiny_model.path,
                         "--sheet", sheet)  # fmt: skip
    assert code == 0, err
    assert "cats/01.png" in out
    pixels = cv2.imread(str(sheet))
    assert pixels is not None
    assert len(np.unique(pixels)) > 100  # noise pictures are on it, not only white paper


def test_brackets_in_names_are_no_markup(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    odd = tmp_path / "g [b]x[/b] :smile:"
    (photos / "cats" / "01.png").rename(photos / "cats" / "cat[final].png")
    code, out, err = run("embed", photos, "--model", tiny_model.path, "--out", odd)
    assert code == 0, err
    assert str(odd) in out.replace("\n", "")
    code, out, err = run("search", odd, photos / "cats" / "cat[final].png", "-k", 1, "--model", tiny_model.path)
    assert code == 0, err
    assert "cats/cat[final].png" in out
    assert "[/b]" in run("info", odd)[1]


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_stopped_leaves_nothing_behind(tmp_path: Path, which: signal.Signals) -> None:
    # A shell starts its background jobs deaf to SIGINT, and a child inherits that
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import semblance.cli as c; c.main()"
    )
    command = [sys.executable, "-c", code]
    command += ["embed", "drawn-fashion:train", "--out", str(tmp_path / "new" / "gallery")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "new" / "gallery" / "shards").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(which)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + which
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_info_says_what_is_inside(run: Run, gallery: Path, tiny_model: Any) -> None:
    code, out, _ = run("info", gallery, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["images"] == 12
    assert facts["unusable"] == 1
    assert facts["fingerprint"] == tiny_model.card.fingerprint
    assert run("info", gallery)[0] == 0


def test_version(run: Run) -> None:
    import semblance

    assert run("--version") == (0, f"{semblance.__version__}\n", "")


def test_models_lists_the_zoo(run: Run) -> None:
    code, out, _ = run("models", "--json")
    assert code == 0
    assert {"autoencoder", "siamese"} <= {model["name"] for model in json.loads(out) if model["problem"] is None}
    assert "siamese" in run("models")[1]


# ----------------------------------------------------------------------------------------------------------------------
# A user's mistakes: one line that says what was given and what to do, status 1, nothing left behind


def one_line(result: tuple[int, str, str]) -> str:
    code, _, err = result
    assert code == 1, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("semblance: ")
    return last


def test_mistakes_with_sources(run: Run, tiny_model: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_bytes(b"not an array")
    np.save(tmp_path / "floats.npy", np.zeros((3, 8, 8), np.float32))
    only_broken = tmp_path / "only-broken"
    only_broken.mkdir()
    (only_broken / "x.jpg").write_bytes(b"no picture")
    for source, expected in (
        ("no/such/folder", "no/such/folder"),
        (tmp_path / "empty", "a folder without images"),
        (tmp_path / "text.npy", "text.npy"),
        (tmp_path / "floats.npy", "float32"),
        (only_broken, "none of the 1 pictures.*x.jpg: .*not an image"),
    ):
        out = tmp_path / "out"
        message = one_line(run("embed", source, "--model", tiny_model.path, "--out", out))
        assert re.search(expected, message), message
        assert not out.exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))]


def test_mistakes_with_models(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    import onnx

    bare = onnx.load(tiny_model.path)
    damaged = onnx.load(tiny_model.path)
    del bare.metadata_props[:]
    damaged.metadata_props[0].value = damaged.metadata_props[0].value.replace('"dimension": 16', '"dimension": 17')
    onnx.save(bare, tmp_path / "bare.onnx")
    onnx.save(damaged, tmp_path / "damaged.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    for model, expected in (
        ("resnt101", "unknown model 'resnt101'"),
        (tmp_path / "none.onnx", "no model file"),
        (tmp_path / "bare.onnx", "without a model card"),
        (tmp_path / "damaged.onnx", "fingerprint"),
        (tmp_path / "text.onnx", "not an ONNX file"),
    ):
        assert expected in one_line(run("embed", photos, "--model", model, "--out", tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_mistakes_with_searches(run: Run, gallery: Path, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    query = photos / "cats" / "01.png"
    mine = ("--model", tiny_model.path)
    for k in (0, 13):
        assert re.search(rf"^semblance: k must .*12.*{k}", one_line(run("search", gallery, query, "-k", k, *mine)))
    assert "no such file" in one_line(run("search", gallery, tmp_path / "none.png", *mine))
    assert "not an image" in one_line(run("search", gallery, photos / "dogs" / "broken.jpg", *mine))
    assert "nowhere" in one_line(run("search", tmp_path / "nowhere", query, *mine))
    assert "tpu" in one_line(run("search", gallery, query, "--backend", "tpu", *mine))


def test_a_gallery_of_another_space_is_refused_naming_both(
    run: Run, gallery: Path, photos: Path, tiny_model: Any, tiny_model_maker: Any
) -> None:
    other = tiny_model_maker("other", seed=1)
    message = one_line(run("search", gallery, photos / "cats" / "01.png", "-k", 3, "--model", other.path))
    assert "'tiny'" in message
    assert "'other'" in message


def test_damaged_galleries(run: Run, gallery: Path, photos: Path, tiny_model: Any) -> None:
    shard = next((gallery / "shards").iterdir())
    shard.rename(shard.with_suffix(".gone"))
    assert shard.name in one_line(run("info", gallery))
    shard.with_suffix(".gone").rename(shard)
    (gallery / "manifest.json").write_text("{")
    assert "manifest" in one_line(run("search", gallery, photos / "cats" / "01.png", "--model", tiny_model.path))


def test_a_gallery_in_the_way_is_left_alone(run: Run, gallery: Path, photos: Path, tiny_model: Any) -> None:
    before = (gallery / "manifest.json").read_bytes()
    assert str(gallery) in one_line(run("embed", photos, "--model", tiny_model.path, "--out", gallery))
    assert (gallery / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [["embed"], ["search"], ["nonsense"], ["embed", "x", "--batch", "0", "--out", "y"]]
)
def test_usage_errors_have_status_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2
