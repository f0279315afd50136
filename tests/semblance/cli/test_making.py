"""`embed` and `add`: reports, resuming, what a stop leaves behind, and the mistakes one can make with sources."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Manifest
from semblance.inference import tuned
from semblance.local.sift import SiftOptions, extract

Run = Callable[..., tuple[int, str, str]]


def test_embed_reports_as_json_and_keeps_stdout_clean(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    code, out, err = run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["num_images"], report["num_errors"], report["num_taken"]) == (12, 1, 13)
    assert set(report["busy"]) == {"decode", "inference", "write"}
    assert "onnxruntime" in err


def test_embed_tells_where_the_time_went_and_where_the_errors_are(
    run: Run, photos: Path, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semblance.gallery.report._SHORT_SECONDS", 0)
    code, out, _ = run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g")
    assert code == 0
    assert "12 images, 1 unusable" in out
    assert re.search(r"Busy: decode \d+%, inference \d+%, write \d+%; the index took", out)
    assert "-bound: " in out
    assert "errors.parquet" in out


def test_options_reach_the_gallery(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("uri,label\ncats/01.png,Tom\n")
    code, _, err = run(
        "embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 4, "--vector-type",
        "float16", "--max-pixels", 600, "--max-bytes", 9999, "--scaled-decode", "--deterministic", "--index-type",
        "f32", "--batch", 3, "--workers", 0, "--threads", 1, "--labels", tmp_path / "labels.csv",
    )  # fmt: skip
    assert code == 0, err
    options = Manifest.read(tmp_path / "g").options
    assert (options["shard_rows"], options["batch"], options["vector_type"]) == (4, 3, "float16")
    assert options["limits"] == {"max_pixels": 600, "max_bytes": 9999, "is_scaled": True}
    assert (options["index"]["dtype"], options["index"]["deterministic"]) == ("f32", True)
    shards = sorted((tmp_path / "g" / "shards").iterdir())
    labels = {row["uri"]: row["label"] for path in shards for row in pq.read_table(path).to_pylist()}
    assert len(labels) == 12
    assert {uri: label for uri, label in labels.items() if label is not None} == {"cats/01.png": "Tom"}


def test_paths_on_standard_input(
    run: Run, photos: Path, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(str(path) for path in photos.rglob("*.png"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(paths).encode())))
    code, out, err = run("embed", "-", "--model", tiny_model.path, "--out", tmp_path / "g")
    assert code == 0, err
    assert "12 images" in out


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


# ----------------------------------------------------------------------------------------------------------------------
# Finished, unfinished, stopped


def test_a_finished_gallery_is_left_alone_and_its_model_is_not_loaded(
    run: Run, failure: Any, gallery: Path, photos: Path, tiny_model: Any
) -> None:
    before = (gallery / "manifest.json").read_bytes()
    same = ("embed", photos, "--model", tiny_model.path, "--out", gallery, "--shard-rows", 5)
    code, out, err = run(*same)
    assert code == 0
    assert "nothing to do" in out
    assert "onnxruntime" not in err  # which is what a loaded model is announced with
    report = json.loads(run(*same, "--json")[1])
    assert (report["num_images"], report["num_errors"], report["num_taken"], report["runs_on"]) == (12, 1, 0, None)
    assert "gallery of" in failure(*same[:1], photos / "cats", *same[2:])
    assert "shard_rows" in failure(*same[:-1], 6)
    assert "holds vectors of" in failure("embed", photos, "--model", "siamese", "--out", gallery, "--shard-rows", 5)
    assert (gallery / "manifest.json").read_bytes() == before


def test_an_unfinished_gallery_keeps_its_batch_and_backend_whatever_was_tuned_meanwhile(
    run: Run, failure: Any, photos: Path, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "folder", lambda: tmp_path / "tuned")
    command = ("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 5)
    failure(*command, "--strict", "--streams", 1, "--workers", 1)
    batch = Manifest.read(tmp_path / "g").options["batch"]
    record = tuned.Tuned(
        backend="openvino", threads=1, streams=1, max_batch=3, images_per_sec=1.0, latency_ms=1.0, when="2026-11-25"
    )
    tuned.keep(tiny_model.path, tiny_model.card, record)
    code, out, err = run(*command)
    assert code == 0, err
    assert "CPUExecutionProvider" in err
    assert "12 images" in out
    assert Manifest.read(tmp_path / "g").options["batch"] == batch != 3


def test_too_many_errors_end_the_run_and_a_raised_limit_carries_it_on(
    run: Run, failure: Any, photos: Path, tiny_model: Any, tmp_path: Path
) -> None:
    command = ("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 5,
               "--streams", 1, "--workers", 1, "--batch", 1)  # fmt: skip
    said = failure(*command, "--strict")
    assert re.search(r"more than 0 pictures are unusable; the last was: .*\(decode\); .*same command carries on", said)
    committed = Manifest.read(tmp_path / "g").num_images
    assert committed in (5, 10)
    code, out, err = run(*command, "--max-errors", 1)
    assert code == 0, err
    assert f"carrying on after {committed} pictures of {photos}" in err
    assert "12 images, 1 unusable" in out


def test_a_source_that_breaks_leaves_what_was_committed_and_says_so(
    run: Run, photos: Path, tiny_model: Any, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        for which in range(60):
            archive.add(photos / "cats" / "01.png", f"{which:02d}.png")
    whole = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) * 2 // 3])
    command = ("embed", tmp_path / "cut.tar", "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 2,
               "--batch", 2, "--workers", 1)  # fmt: skip
    code, _, err = run(*command)
    assert code == 1
    assert "images are committed in" in err
    assert "the same command carries on" in err
    assert "cut.tar" in err.splitlines()[-1]
    (tmp_path / "cut.tar").write_bytes(whole)
    code, out, _ = run(*command)
    assert code == 0
    assert ": 60 images, 0 unusable" in out


def stopped(command: list[str], ready: Callable[[], bool], which: signal.Signals) -> tuple[int, str]:
    """Run the command line until it is `ready`, send the signal, and return its status and stderr."""
    # A shell starts its background jobs deaf to SIGINT, and a child inherits that
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import semblance.cli as c; c.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.PIPE, text=True)
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(which)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, err


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_stopped_before_its_first_shard_leaves_nothing_behind(
    tmp_path: Path, which: signal.Signals
) -> None:
    path = tmp_path / "new" / "gallery"
    command = ["embed", "drawn-fashion:train", "--out", str(path), "--shard-rows", "50000"]
    code, err = stopped(command, (path / "shards").exists, which)
    assert code == 128 + which
    assert "nothing was committed" in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_stopped_is_carried_on_by_the_same_command(
    run: Run, tmp_path: Path, which: signal.Signals
) -> None:
    path = tmp_path / "gallery"
    command = ["embed", "drawn-fashion:train:4000", "--out", str(path), "--shard-rows", "200", "--batch", "1"]

    def has_shards() -> bool:
        return path.is_dir() and (path / "manifest.json").exists() and len(Manifest.read(path).shards) >= 2

    code, err = stopped(command, has_shards, which)
    assert code == 128 + which
    manifest = Manifest.read(path)
    assert not manifest.is_complete
    assert re.match(rf"stopped: {manifest.num_images:,} images are committed.*same command", err.splitlines()[-1])
    assert not (path / "lock").exists()
    assert "unfinished" in run("info", path)[1]
    code, out, err = run(*command)
    assert code == 0, err
    assert f"carrying on after {manifest.num_images:,} pictures" in err
    assert "4,000 images" in out


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_a_destructor_swallows_stops_the_command_all_the_same(
    tmp_path: Path, which: signal.Signals
) -> None:
    code = f"""
import os, signal
import semblance.cli
from semblance.gallery import shards
class Swallows:
    def __del__(self):
        signal.raise_signal({int(which)})
write_errors = shards.write_errors
def write_errors_and_be_killed(*given, **options):
    written = write_errors(*given, **options)
    Swallows()
    return written
shards.write_errors = write_errors_and_be_killed
signal.signal(signal.SIGINT, signal.default_int_handler)
semblance.cli.main()
"""
    path = tmp_path / "new" / "gallery"
    command = ["embed", "drawn-fashion:train:3000", "--out", str(path)]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=60)
    assert "SystemExit" in done.stderr  # it was swallowed once
    assert done.returncode == 128 + which
    assert "nothing was committed" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------------------------
# Adding


def test_other_labels_are_refused_before_there_is_nothing_to_do(
    run: Run, failure: Any, gallery: Path, photos: Path, tiny_model: Any, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("cats/01.png,Tom\n")
    labelled = ("--model", tiny_model.path, "--labels", tmp_path / "labels.csv")
    same = ("embed", photos, "--out", gallery, "--shard-rows", 5)
    assert "labels (by the sha256 of their file) = None, not '" in failure(*same, *labelled)
    assert "taken with labels" in failure("add", gallery, photos, *labelled)
    assert "nothing to do" in run(*same[:1], f"{photos}/../photos", *same[2:], "--model", tiny_model.path)[1]


def test_add_takes_a_further_source(answer: Any, failure: Any, gallery: Path, tiny_model: Any, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for which in range(3):
        cv2.imwrite(str(more / f"{which}.png"), np.full((9, 9, 3), 40 * which + 9, np.uint8))
    report = answer("add", gallery, more, "--model", tiny_model.path)
    assert (report["num_images"], report["num_taken"], report["num_added"]) == (15, 3, 3)
    found = answer("search", gallery, more / "2.png", "-k", 1, "--model", tiny_model.path)
    assert found["queries"][0]["neighbours"][0]["uri"] == "2.png"
    assert answer("add", gallery, more, "--model", tiny_model.path)["num_added"] == 0
    (more / "broken.png").write_bytes(b"no picture")
    assert "--max-errors" in failure("add", gallery, more, "--model", tiny_model.path, "--strict")
    assert "holds vectors of" in failure("add", gallery, more, "--model", "siamese")


# ----------------------------------------------------------------------------------------------------------------------
# A user's mistakes: one line that says what was given and what to do, status 1, nothing left behind


def test_mistakes_with_sources(failure: Any, tiny_model: Any, tmp_path: Path) -> None:
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
        message = failure("embed", source, "--model", tiny_model.path, "--out", out)
        assert re.search(expected, message), message
        assert not out.exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))]


def test_mistakes_with_options(failure: Any, photos: Path, gallery: Path, tiny_model: Any, tmp_path: Path) -> None:
    command = ("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "out")
    assert "float64" in failure(*command, "--vector-type", "float64")
    assert "f8" in failure(*command, "--index-type", "f8")
    assert "label_column" in failure(*command, "--label-column", "kind")
    assert "no use" in failure("embed", gallery, *command[2:], "--label-column", "kind")
    assert not (tmp_path / "out").exists()


def test_mistakes_with_models(failure: Any, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
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
        assert expected in failure("embed", photos, "--model", model, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_keypoints_are_kept_where_they_are_asked_for(
    run: Run, answer: Callable[..., Any], failure: Callable[..., str], photos: Path, tiny_model: Any, tmp_path: Path
) -> None:
    command = ("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--sift", "--max-keypoints", 50)
    assert run(*command)[0] == 0
    expected = {"max_keypoints": 50, "longest_side": 1024, "contrast_threshold": 0.04, "is_root": False}
    assert Manifest.read(tmp_path / "g").options["sift"] == expected
    facts = answer("info", tmp_path / "g")
    assert (facts["sift"], facts["shards"]) == (expected, 1)
    assert facts["keypoints"] > 12  # noise is full of them
    _, out, _ = run("info", tmp_path / "g")
    assert f"{facts['keypoints']} of SIFT (" in " ".join(out.split())
    assert "nothing to do" in run(*command)[1]
    said = failure(*command[:-1], 60)
    assert said.endswith("was begun with sift.max_keypoints = 50, not 60; use the same, or another folder")
    assert failure(*command[:-3]).endswith("was begun with SIFT, not without it; use the same, or another folder")
    more = tmp_path / "more"
    more.mkdir()
    (photos / "cats" / "01.png").rename(more / "one.png")
    assert run("add", tmp_path / "g", more, "--model", tiny_model.path)[0] == 0
    found = VectorGallery.open(tmp_path / "g").keypoints
    assert found is not None
    np.testing.assert_array_equal(
        found.take(np.array([12]))[0], extract(more / "one.png", SiftOptions(max_keypoints=50)).descriptors
    )


def test_how_keypoints_are_found_is_chosen(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    code, _, err = run(
        "embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--sift", "--sift-longest-side", 20,
        "--sift-contrast", 0, "--root-sift", "--max-keypoints", 7,
    )  # fmt: skip
    assert code == 0, err
    expected = {"max_keypoints": 7, "longest_side": 20, "contrast_threshold": 0.0, "is_root": True}
    assert Manifest.read(tmp_path / "g").options["sift"] == expected


def test_options_of_keypoints_that_would_be_of_no_use_or_do_harm(
    run: Run, failure: Callable[..., str], photos: Path, tiny_model: Any, tmp_path: Path
) -> None:
    command = ("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g")
    for option in (("--max-keypoints", 7), ("--root-sift",), ("--sift-contrast", 0), ("--sift-longest-side", 9)):
        code, _, err = run(*command, *option)
        assert code == 2
        assert "say how --sift is done; give it too" in " ".join(err.replace("│", " ").split())
    assert "leave out one of the two" in failure(*command, "--sift", "--scaled-decode")
    assert not (tmp_path / "g").exists()
