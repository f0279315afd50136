"""`search`, `duplicates` and `recall`: who is found, how it is told, and the mistakes one can make."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]


def first_uris(found: Any) -> list[str]:
    return [query["neighbours"][0]["uri"] for query in found["queries"]]


def test_a_picture_of_the_gallery_finds_itself_first(answer: Any, gallery: Path, photos: Path, tiny_model: Any) -> None:
    found = answer("search", gallery, photos / "cats" / "01.png", photos / "dogs" / "04.png", "-k", 3,
                   "--model", tiny_model.path)  # fmt: skip
    assert first_uris(found) == ["cats/01.png", "dogs/04.png"]
    assert [query["neighbours"][0]["label"] for query in found["queries"]] == ["cats", "dogs"]
    assert all(len(query["neighbours"]) == 3 for query in found["queries"])
    assert found["queries"][0]["neighbours"][0]["distance"] == pytest.approx(0, abs=1e-4)


def test_a_folder_of_queries(answer: Any, gallery: Path, photos: Path, tiny_model: Any) -> None:
    found = answer("search", gallery, photos / "cats", photos / "dogs" / "04.png", "-k", 1, "--model", tiny_model.path)
    assert [Path(query["image"]).name for query in found["queries"]] == [
        "01.png", "03.png", "05.png", "07.png", "09.png", "11.png", "04.png",
    ]  # fmt: skip
    assert first_uris(found) == [*(f"cats/{which:02d}.png" for which in range(1, 12, 2)), "dogs/04.png"]


def test_keys_as_queries_need_no_model(answer: Any, failure: Any, gallery: Path, tiny_model: Any) -> None:
    tiny_model.path.unlink()
    found = answer("search", gallery, "--key", 7, "--key", 0, "-k", 2)
    assert [query["key"] for query in found["queries"]] == [7, 0]
    assert first_uris(found) == ["dogs/02.png", "cats/01.png"]
    assert "key 12 is not in" in failure("search", gallery, "--key", 12)


@pytest.mark.parametrize("option", [("--model", "siamese"), ("--backend", "cpu"), ("--threads", 1)])
def test_what_means_nothing_to_a_key_is_refused(run: Run, gallery: Path, option: tuple[str, Any]) -> None:
    code, _, err = run("search", gallery, "--key", 7, *option)
    assert code == 2
    said = " ".join(err.replace("│", " ").split())
    assert option[0] in said
    assert "leave" in said


def test_where_and_fewer_than_k(run: Run, answer: Any, failure: Any, gallery: Path) -> None:
    found = answer("search", gallery, "--key", 0, "-k", 10, "--where", "label = 'dogs'")
    assert {hit["label"] for hit in found["queries"][0]["neighbours"]} == {"dogs"}
    assert len(found["queries"][0]["neighbours"]) == 6
    nothing = answer("search", gallery, "--key", 0, "-k", 10, "--where", "width > 999")
    assert nothing["queries"] == [{"key": 0, "neighbours": []}]
    assert run("search", gallery, "--key", 0, "--where", "width > 999")[0] == 0
    assert "labl" in failure("search", gallery, "--key", 0, "--where", "labl = 'dogs'")


def test_exact_search_answers_alike(answer: Any, gallery: Path) -> None:
    asked = ("search", gallery, *(part for key in range(6) for part in ("--key", key)), "-k", 12)
    assert answer(*asked, "--exact") == answer(*asked)


@pytest.mark.parametrize("by_key", [False, True])
def test_search_writes_a_sheet_with_the_pictures(
    run: Run, gallery: Path, photos: Path, tiny_model: Any, by_key: bool
) -> None:
    sheet = gallery.parent / "sheet.png"
    query = ("--key", 0) if by_key else (photos / "cats" / "01.png", "--model", tiny_model.path)
    code, out, err = run("search", gallery, *query, "-k", 3, "--sheet", sheet)
    assert code == 0, err
    assert "cats/01.png" in out
    pixels = cv2.imread(str(sheet))
    assert pixels is not None
    assert len(np.unique(pixels)) > 100  # noise pictures are on it, not only white paper


def test_mistakes_with_searches(failure: Any, gallery: Path, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    query = photos / "cats" / "01.png"
    mine = ("--model", tiny_model.path)
    for k in (0, 13):
        assert re.search(rf"^semblance: k must .*12.*{k}", failure("search", gallery, query, "-k", k, *mine))
    assert "no such file" in failure("search", gallery, tmp_path / "none.png", *mine)
    assert "not an image" in failure("search", gallery, photos / "dogs" / "broken.jpg", *mine)
    assert "not an image" in failure("search", gallery, photos / "dogs", *mine)
    assert "tpu" in failure("search", gallery, query, "--backend", "tpu", *mine)
    (gallery / "manifest.json").write_text("{")
    assert "manifest" in failure("search", gallery, query, *mine)


def test_a_gallery_of_another_space_is_refused_naming_both(
    failure: Any, gallery: Path, photos: Path, tiny_model: Any, tiny_model_maker: Any
) -> None:
    other = tiny_model_maker("other", seed=1)
    message = failure("search", gallery, photos / "cats" / "01.png", "-k", 3, "--model", other.path)
    assert "'tiny'" in message
    assert "'other'" in message


# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_copies(run: Run, gallery: Path, photos: Path, tiny_model: Any) -> Path:
    """The gallery after the photographs were copied: 01 is there three times, 04 twice. New keys are 13 and on."""
    for name in ("cats/a.png", "dogs/b.png"):
        shutil.copy(photos / "cats" / "01.png", photos / name)
    shutil.copy(photos / "dogs" / "04.png", photos / "dogs" / "c.png")
    code, _, err = run("add", gallery, photos, "--model", tiny_model.path)
    assert code == 0, err
    return gallery


@pytest.mark.parametrize("approximate", [False, True])
def test_duplicates_are_grouped(answer: Any, run: Run, with_copies: Path, photos: Path, approximate: bool) -> None:
    how = ["--approximate"] if approximate else []
    report, sheet = with_copies.parent / "groups.csv", with_copies.parent / "groups.png"
    found = answer("duplicates", with_copies, "-d", 1e-6, *how, "--out", report, "--sheet", sheet)
    uris = {row["key"]: row["uri"] for row in csv.DictReader(report.open())}
    named = [sorted(uris[str(key)] for key in group) for group in found["groups"]]
    assert named == [["cats/01.png", "cats/a.png", "dogs/b.png"], ["dogs/04.png", "dogs/c.png"]]
    assert (found["num_groups"], found["num_redundant"]) == (2, 3)
    assert [row["keep"] for row in csv.DictReader(report.open())] == ["true", "false", "false", "true", "false"]
    pixels = cv2.imread(str(sheet))
    assert pixels is not None
    assert len(np.unique(pixels)) > 100
    code, out, _ = run("duplicates", with_copies, "-d", 1e-6, *how)
    assert code == 0
    assert "3 of 15 images are redundant" in out


def test_no_duplicates(answer: Any, failure: Any, gallery: Path) -> None:
    sheet = gallery.parent / "groups.png"
    found = answer("duplicates", gallery, "-d", 0, "--sheet", sheet, "--out", gallery.parent / "none.parquet")
    assert found["groups"] == []
    assert sheet.exists()
    for how in ([], ["--approximate"]):
        assert "distance must be" in failure("duplicates", gallery, "-d", "-1", *how)
        assert "distance must be" in failure("duplicates", gallery, "-d", "nan", *how)
    assert ".csv or .parquet" in failure("duplicates", gallery, "-d", "1", "--out", gallery.parent / "x.txt")


def test_recall_of_the_index(run: Run, answer: Any, failure: Any, gallery: Path) -> None:
    found = answer("recall", gallery, "-k", 5)
    assert (found["k"], found["num_queries"], found["recall"]) == (5, 12, 1.0)
    code, out, _ = run("recall", gallery, "-k", 5, "--sample", 3, "--min", 1)
    assert code == 0
    assert "recall@5 1.0000 over 3 queries" in out
    assert "1..11" in failure("recall", gallery, "-k", 12)


def test_keypoints_put_neighbours_in_order(
    run: Run, answer: Any, failure: Any, gallery: Path, caltech_dir: Path, tmp_path: Path
) -> None:
    from export.images import encoded_photographs

    (tmp_path / "photographs").mkdir()
    for number, (_, encoded) in enumerate(encoded_photographs(next(caltech_dir.glob("*.tar")), 6)):
        (tmp_path / "photographs" / f"{number}.jpg").write_bytes(encoded)
    made = tmp_path / "with.gallery"
    assert run("embed", tmp_path / "photographs", "--model", "siamese", "--out", made, "--sift")[0] == 0
    query = tmp_path / "photographs" / "4.jpg"
    found = answer("search", made, query, "-k", 3, "--rerank", "sift", "--shortlist", 5)["queries"][0]["neighbours"]
    assert found[0]["key"] == 4
    assert found[0]["inliers"] > 20
    assert set(found[1]) == {"key", "uri", "label", "distance", "matches", "inliers"}
    alone = answer("search", made, "--key", 4, "-k", 3, "--method", "sift")["queries"][0]["neighbours"]
    assert alone[0]["inliers"] == found[0]["inliers"]
    assert "distance" not in alone[0]
    code, out, _ = run("search", made, query, "-k", 2, "--method", "sift", "--sheet", tmp_path / "sheet.png")
    assert code == 0
    assert re.search(r"rank .* inliers .* matches .* label .* key", out)
    assert "nan" not in out
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
    assert "keeps no keypoints" in failure("search", gallery, "--key", 0, "--rerank", "sift")
    for wrong in (("--method", "sift", "--exact"), ("--method", "sift", "--rerank", "sift"), ("--shortlist", 3)):
        assert run("search", made, "--key", 0, *wrong)[0] == 2
