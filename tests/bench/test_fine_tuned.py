"""Pairs against plain loops, and the row's records from a model that was trained just now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.originals import fine_tuned, photographs
from bench.originals.fine_tuned import best_threshold, likenesses, measure, measure_model, pair_figures
from bench.originals.published import of_row
from bench.records import KINDS, Record
from models.facts import read_facts
from models.train import main as train
from semblance.errors import InputError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small baseline, trained for two epochs on 60 pictures of two colours."""
    folder = tmp_path_factory.mktemp("colours")
    generator = np.random.default_rng(0)
    for name, color in (("blue", (200, 60, 40)), ("red", (40, 60, 200))):
        (folder / name).mkdir()
        for i in range(30):
            image = np.clip(np.array(color) + generator.integers(-40, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{i:02d}.png"), image)
    out = tmp_path_factory.mktemp("model") / "colours.keras"
    arguments = ["cnn", str(folder), "--size", "16", "--epochs", "4", "--batch", "6", "--features", "64", "--lr", ".01",
                 "--dropout", "0", "--test", "0.3", "--out", str(out)]  # fmt: skip
    assert train(arguments) == 0
    return out


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_likenesses_are_those_of_each_pair(metric: Any) -> None:
    generator = np.random.default_rng(0)
    vectors, labels = generator.normal(0, 1, (9, 4)).astype(np.float32), np.array([0, 1, 0, 2, 1, 0, 3, 2, 2])
    got, is_same = likenesses(vectors, labels, metric)
    expected, same = [], []
    for i in range(9):
        for j in range(i + 1, 9):
            a, b = vectors[i].astype(np.float64), vectors[j].astype(np.float64)
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            expected.append(cosine if metric == "cos" else -np.linalg.norm(a - b))
            same.append(labels[i] == labels[j])
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert is_same.tolist() == same


def test_the_best_threshold_is_that_of_all_there_are() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        is_same = generator.random(40) < 0.3
        is_same[:2] = True, False
        likeness = np.round(generator.normal(0, 1, 40) + is_same, 1)  # with ties
        threshold, right = best_threshold(likeness, is_same)
        by_hand = {
            each: ((likeness[is_same] >= each).mean() + (likeness[~is_same] < each).mean()) / 2 for each in likeness
        }
        assert right == pytest.approx(max(by_hand.values()))
        assert by_hand[threshold] == pytest.approx(right)


def test_the_threshold_comes_from_other_pictures_than_it_is_judged_on() -> None:
    labels = np.array([0, 0, 1, 1])
    apart = np.array([[0, 0], [0, 1], [9, 0], [9, 1]], np.float32)
    figures = pair_figures(apart, labels, (apart, labels), "l2sq")
    assert (figures.verification_accuracy, figures.num_same, figures.num_different) == (1.0, 2, 4)
    assert figures.threshold == pytest.approx(1.0)
    wider = pair_figures(apart * 3, labels, (apart, labels), "l2sq")
    assert wider.verification_accuracy == 0.5, "what was near is beyond the threshold that was chosen"
    with pytest.raises(InputError, match="no pairs of one class"):
        pair_figures(apart, np.arange(4), (apart, labels), "cos")


def test_a_trained_model_is_measured_on_what_it_has_not_seen(trained: Path, fashion_mnist_dir: Path) -> None:
    facts = read_facts(trained)
    records = measure_model(trained, fine_tuned.CNN)
    assert [each["protocol"] for each in records] == ["leave-one-out", "the query is in the gallery"]
    for each in records:
        assert each["kind"] in KINDS
        assert each["num_queries"] == each["num_gallery"] == len(facts.test) == 18
        assert each["class_accuracy"] == facts.figures["test accuracy"]
    alone, with_itself = records
    assert with_itself["at_k"]["1"]["average_precision"] == 1.0, "each finds itself first"
    assert alone["mean_rank"] >= 4.5, "eight others of its class cannot stand higher"
    assert alone["pairs"]["cosine_same"] > alone["pairs"]["cosine_different"]
    assert alone["pairs"]["verification_accuracy"] > 0.5
    assert photographs.kept_at("colours.onnx").is_file()


def test_published_figures_stand_beside_what_came_out(trained: Path, fashion_mnist_dir: Path) -> None:
    records = measure_model(trained, fine_tuned.CNN)
    beside = {each["figure"]: each for each in fine_tuned._beside(records, fine_tuned.CNN)}
    assert set(beside) == {"accuracy", "mAP@10", "mean rank"}
    assert beside["accuracy"]["reproduced"] == records[1]["class_accuracy"]
    assert beside["mAP@10"]["reproduced"] == records[1]["at_k"]["10"]["average_precision"]
    assert beside["mean rank"]["reproduced"] == records[1]["mean_rank"]
    assert all(each["reproduced"] is not None for each in beside.values())


def test_what_is_not_trained_is_left_out_with_its_figures() -> None:
    records: list[Record] = []
    measure(quick=True, emit=records.append)
    absent = [each["contender"] for each in records if each["kind"] == "absent"]
    assert absent == [run.original for run in fine_tuned.RUNS]
    published = [each for each in records if each["kind"] == "published"]
    assert len(published) == len(of_row(5))
    assert all(each["reproduced"] is None and "--train" in each["note"] for each in published)


def test_a_model_whose_pictures_are_gone_is_told(trained: Path, tmp_path: Path, fashion_mnist_dir: Path) -> None:
    facts = read_facts(trained)
    with pytest.raises(InputError, match="train again"):
        fine_tuned._rows(("red/nowhere.png",), ["red/00.png"], facts)
    with pytest.raises(InputError, match="no facts at"):
        measure_model(tmp_path / "other.keras", "other")
