"""`remove`, `compact`, `rebuild`, `verify`, `export`: what a gallery is afterwards, and what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

Run = Callable[..., tuple[int, str, str]]


def test_remove_by_key_uri_and_condition(run: Run, answer: Any, gallery: Path) -> None:
    what = ("remove", gallery, "--key", 0, "--key", 77, "--uri", "dogs/04.png", "--uri", "no", "--where", "key = 11")
    trial = answer(*what, "--dry-run")
    assert (trial["removed"], trial["keys"], trial["left"]) == (3, [0, 8, 11], 9)
    assert answer("info", gallery)["images"] == 12
    assert "dogs/04.png" in run(*what, "--dry-run")[1]
    code, out, err = run(*what)
    assert code == 0
    assert "3 images removed, 9 left" in out
    assert err.splitlines() == [f"key 77 is not in {gallery}", f"no is not in {gallery}"]
    assert answer("info", gallery)["images"] == 9
    assert answer(*what)["removed"] == 0


def test_removed_pictures_are_found_no_more_and_compact_drops_them(run: Run, answer: Any, gallery: Path) -> None:
    answer("remove", gallery, "--where", "label = 'cats'")
    found = answer("search", gallery, "--key", 6, "-k", 6)["queries"][0]["neighbours"]
    assert {hit["label"] for hit in found} == {"dogs"}
    done = answer("compact", gallery)
    assert (done["num_images"], done["num_dropped"]) == (6, 6)
    assert done["bytes_after"] < done["bytes_before"]
    assert answer("search", gallery, "--key", 6, "-k", 6)["queries"][0]["neighbours"] == found
    manifest = (gallery / "manifest.json").read_bytes()
    assert "0 removed rows dropped" in run("compact", gallery)[1]
    assert (gallery / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize("damage", ["missing", "other bytes", "whole"])
def test_rebuild_whatever_state_the_index_is_in(run: Run, answer: Any, gallery: Path, damage: str) -> None:
    before = answer("search", gallery, "--key", 3, "-k", 12)
    (index,) = (gallery / "index").iterdir()
    if damage == "missing":
        index.unlink()
    elif damage == "other bytes":
        index.write_bytes(b"\0" * index.stat().st_size)
    code, out, _ = run("verify", gallery)
    assert code == (damage != "whole")
    if damage != "whole":
        assert "rebuild" in out
    assert answer("rebuild", gallery) == {"gallery": str(gallery), "num_indexed": 12}
    assert answer("verify", gallery)["findings"] == []
    assert answer("search", gallery, "--key", 3, "-k", 12) == before


def test_verify_tells_file_problem_and_remedy(run: Run, gallery: Path) -> None:
    shard = gallery / "shards" / "000001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    code, out, err = run("verify", gallery, "--json")
    answer = json.loads(out)
    assert (code, answer["state"]) == (1, "complete")
    assert "shards/000001.parquet" in [finding["file"] for finding in answer["findings"]]
    assert all(finding["problem"] and finding["remedy"] for finding in answer["findings"])
    code, out, err = run("verify", gallery)
    assert (code, err) == (1, "")
    assert "shards/000001" in out
    assert "wrong" in out
    (gallery / "manifest.json").write_text("{")
    code, out, _ = run("verify", gallery, "--json")
    assert (code, json.loads(out)["state"]) == (1, "damaged")


def test_verify_an_unfinished_gallery(run: Run, answer: Any, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 5, "--strict")
    found = answer("verify", tmp_path / "g")
    assert (found["state"], found["findings"]) == ("unfinished", [])
    assert "unfinished" in run("verify", tmp_path / "g")[1]


def test_export(run: Run, answer: Any, failure: Any, gallery: Path, tmp_path: Path) -> None:
    answer("remove", gallery, "--key", 0)
    found = answer("export", gallery, tmp_path / "all.npy")
    assert (found["num_images"], found["files"]) == (11, [str(tmp_path / "all.npy"), str(tmp_path / "all.keys.npy")])
    assert np.load(tmp_path / "all.npy").shape == (11, 16)
    assert "11 images" in run("export", gallery, tmp_path / "all.parquet")[1]
    assert pq.read_table(tmp_path / "all.parquet").column("key").to_pylist() == list(range(1, 12))
    assert ".parquet, .npy, .usearch" in failure("export", gallery, tmp_path / "all.csv")
    assert "cannot be written" in failure("export", gallery, tmp_path / "no" / "all.npy")
