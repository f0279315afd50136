"""The originals' figures: rankings beside plain ones, wrong contenders told from right ones, and the published rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import records
from bench.originals import __main__ as command_line
from bench.originals import ranking, row_autoencoder, row_resnet101, row_siamese
from bench.originals.asked import Asked
from bench.originals.comparing import EXACT, INDEX, Protocol, Subject, baseline, compare, is_kept
from bench.originals.contenders import Contender, Model
from bench.originals.full_ranking import whole_ranking
from bench.originals.measuring import is_wrong, measure
from bench.originals.published import PUBLISHED, Published, of_row
from bench.originals.ranking import DEPTHS, Index, Queries, figures
from bench.originals.reproduced import beside, figure, left_out
from semblance import metrics
from semblance.errors import InputError
from semblance.inputs.datasets import CLASSES

HERE = Path(__file__).parents[2]


# ------------------------------------------------------------------------------------------------------------------
# Whole rankings beside plain ones


def distances(query: NDArray[np.float32], gallery: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    """[N], one by one as they are defined."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if metric == "l2sq":
        return np.array([((query - each) ** 2).sum() for each in gallery])
    lengths = [np.linalg.norm(query) * np.linalg.norm(each) for each in gallery]
    return np.array([1 - (query @ each / n if n else 0) for each, n in zip(gallery, lengths, strict=True)])


def ranked(queries: Any, gallery: Any, own: Any, metric: str) -> list[NDArray[np.int64]]:
    """All rows of the gallery but its own, for each query, by a stable sort of the distances."""
    orders = [np.argsort(distances(query, gallery, metric), kind="stable") for query in queries]
    return [order[order != row] for order, row in zip(orders, own, strict=True)]


def random(seed: int, num: int, dimension: int = 8) -> Any:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num, dimension)).astype(np.float32), rng.integers(0, 4, num).astype(np.uint8)


def tied(seed: int, num: int) -> Any:
    """Few different vectors of few integers, of both signs of zero: copies, and equal distances of others."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (num, 3)).astype(np.float32)
    vectors[rng.random(vectors.shape) < 0.2] *= -0.0
    return vectors, rng.integers(0, 3, num).astype(np.uint8)


def one_class(num: int) -> Any:
    return random(5, num)[0], np.full(num, 7, np.uint8)


INPUTS = {
    "random": random(1, 61),
    "tied": tied(2, 60),
    "copies": (np.repeat(random(3, 6)[0], 7, axis=0), random(4, 42)[1]),
    "one class": one_class(20),
    "all different": (random(6, 9)[0], np.arange(9, dtype=np.uint8)),
    "zeros": (np.zeros((12, 4), np.float32), random(7, 12)[1]),
    "two": random(8, 2),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("metric", ["l2sq", "cos"])
@pytest.mark.parametrize("num_distances", [1, 200, 1 << 20])
def test_a_whole_ranking_is_that_of_a_plain_sort(name: str, metric: Any, num_distances: int) -> None:
    vectors, labels = INPUTS[name]
    if name == "tied" and metric == "cos":
        vectors = np.sign(vectors[:, :1]) * np.float32([[2, 1, 2]])  # lengths 3 and 0: cosines without a rounding error
    own = np.arange(len(vectors))
    found = whole_ranking(
        vectors, labels, vectors, labels, own=own, metric=metric, num_distances=num_distances, threads=2
    )
    for query, order in enumerate(ranked(vectors, vectors, own, metric)):
        relevant = (labels[order] == labels[query])[None]  # [1, N - 1]
        expected = metrics.average_precision_at_k(relevant, relevant.sum(axis=1), len(order))[0]
        assert found.average_precision[query] == pytest.approx(expected, abs=1e-12)
        rank = metrics.mean_rank(relevant)[0]
        assert found.mean_rank[query] == pytest.approx(rank, nan_ok=True)


def test_queries_of_their_own_rank_all_of_a_gallery() -> None:
    gallery, labels = random(1, 40)
    asked, asked_labels = random(2, 5)
    none = np.full(5, -1)
    found = whole_ranking(asked, asked_labels, gallery, labels, own=none, metric="l2sq")
    for query, order in enumerate(ranked(asked, gallery, none, "l2sq")):
        assert len(order) == 40
        relevant = (labels[order] == asked_labels[query])[None]
        assert found.mean_rank[query] == pytest.approx(metrics.mean_rank(relevant)[0])
    queries = Queries.others(asked, asked_labels)
    rows = ranking.exact(gallery, queries, metric="l2sq")
    assert rows.tolist() == [order[:30].tolist() for order in ranked(asked, gallery, none, "l2sq")]
    assert queries.num_relevant(labels).tolist() == [(labels == label).sum() for label in asked_labels]
    assert Index(gallery, metric="l2sq", threads=1).search(queries).tolist() == rows.tolist()


# ------------------------------------------------------------------------------------------------------------------
# Figures


def test_figures_are_the_means_over_all_queries_and_each_class() -> None:
    vectors, labels = random(1, 50)
    queries = Queries.rows_of(labels, np.array([3, 4, 10, 49]))
    rows = ranking.exact(vectors, queries, metric="cos")
    own = queries.own
    orders = ranked(vectors[own], vectors, own, "cos")
    assert rows.tolist() == [order[:30].tolist() for order in orders]
    whole = whole_ranking(vectors[own], labels[own], vectors, labels, own=own, metric="cos")
    found = figures(rows, labels, queries, whole=whole, classes=["a", "b", "c", "d"])
    right = np.array([labels[order] == labels[query] for order, query in zip(orders, own, strict=True)])  # [4, 49]
    num = right.sum(axis=1)
    assert list(found["at_k"]) == [str(k) for k in DEPTHS]
    for k in DEPTHS:
        of_k, hits = found["at_k"][str(k)], right[:, :k].sum(axis=1)
        assert of_k["precision"] == pytest.approx((hits / k).mean(), abs=1e-6)
        assert of_k["recall"] == pytest.approx((hits / num).mean(), abs=1e-6)
        assert of_k["hit"] == (hits > 0).mean()
        assert of_k["f1"] == pytest.approx((2 * hits / (k + num)).mean(), abs=1e-6)
    assert found["accuracy"] == right[:, 0].mean()
    assert found["map"] == pytest.approx(whole.average_precision.mean(), abs=1e-6)
    assert set(found["per_class"]) == {"abcd"[label] for label in labels[own]}
    for label in np.unique(labels[own]):
        chosen = labels[own] == label
        of_class = found["per_class"]["abcd"[label]]
        assert of_class["at_k"]["5"]["precision"] == pytest.approx(right[chosen, :5].mean(), abs=1e-6)
        assert of_class["mean_rank"] == pytest.approx(whole.mean_rank[chosen].mean(), abs=1e-6)


def test_few_neighbours_and_none_of_the_class_make_figures_that_json_holds() -> None:
    vectors, labels = random(6, 4)[0], np.arange(4, dtype=np.uint8)
    queries = Queries.rows_of(labels, np.arange(4))
    whole = whole_ranking(vectors, labels, vectors, labels, own=queries.own, metric="l2sq")
    found = figures(ranking.exact(vectors, queries, metric="l2sq"), labels, queries, whole=whole)
    assert list(found["at_k"]) == ["1", "2"]
    assert found["mean_rank"] is None
    assert found["map"] == 0
    json.dumps(found, allow_nan=False)
    with pytest.raises(InputError, match="take more images"):
        ranking.exact(vectors[:1], Queries.rows_of(labels, np.arange(1)), metric="l2sq")


def test_what_was_not_found_is_not_relevant() -> None:
    labels = np.zeros(5, np.uint8)
    queries = Queries.rows_of(labels, np.array([0]))
    found = figures(np.array([[1, -1, -1, -1]]), labels, queries)
    assert found["at_k"]["2"]["precision"] == 0.5
    assert (found["map"], found["mean_rank"]) == (None, None)


@pytest.mark.parametrize("metric", ["l2sq", "cos"])
def test_the_index_finds_what_an_exact_search_finds(metric: Any) -> None:
    vectors, labels = random(9, 600, 16)
    queries = Queries.rows_of(labels, np.arange(600))
    truth = ranking.exact(vectors, queries, metric=metric)
    found = Index(vectors, metric=metric, threads=1).search(queries)
    assert found.shape == truth.shape == (600, 30)
    assert (found != np.arange(600)[:, None]).all()
    assert ranking.same_nearest(found, truth) > 0.99


# ------------------------------------------------------------------------------------------------------------------
# Right and wrong contenders


def clustered(num: int = 400) -> Any:
    """Vectors about ten centres, with the centre's number as label."""
    rng = np.random.default_rng(0)
    labels = (np.arange(num) % 10).astype(np.uint8)
    centres = rng.standard_normal((10, 16))
    return (centres[labels] + 0.5 * rng.standard_normal((num, 16))).astype(np.float32), labels


def subject(labels: Any, **fields: Any) -> Subject:
    given = {
        "row": 1,
        "original": "made-up",
        "weights": "none",
        "labels": labels,
        "protocols": [
            Protocol("three", "made up", len(labels), np.array([1, 5, 30])),
            Protocol.leave_one_out("made up", len(labels)),
        ],
        "metrics": ["l2sq"],
    }
    return Subject(**(given | fields))


def by(vectors: Any, *, runtime: str = "onnx", precision: Any = "fp32") -> Contender:
    return Contender(runtime, precision, "cpu", lambda: vectors)


def compared(truth: Any, other: Contender, labels: Any, **fields: Any) -> list[records.Record]:
    """The records of `other`, held against these vectors."""
    found: list[records.Record] = []
    compare(subject(labels, **fields), [by(truth, runtime="tensorflow"), other], found.append)
    assert all(record["is_right"] for record in found if record.get("runtime") == "tensorflow")
    return [record for record in found if record.get("runtime") != "tensorflow"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_shuffled_vectors_are_at_chance_and_wrong(precision: Any) -> None:
    vectors, labels = clustered()
    shuffled = np.random.default_rng(1).permutation(vectors)
    found = compared(vectors, by(shuffled, precision=precision), labels)
    assert len(found) == 4  # two protocols, exactly and by the index
    for record in found:
        assert record["is_right"] is False
        assert is_wrong(record)
        if record["protocol"] == "leave-one-out":
            assert record["at_k"]["10"]["precision"] == pytest.approx(0.1, abs=0.03)
            assert record["same_10_nearest"] < 0.06
            assert record["lost_p_at_10"] > 0.5


def test_the_same_vectors_are_right_and_slightly_other_ones_only_in_fewer_bits() -> None:
    vectors, labels = clustered()
    rng = np.random.default_rng(2)
    noisy = (vectors + 0.02 * rng.standard_normal(vectors.shape)).astype(np.float32)
    for record in compared(vectors, by(vectors.copy()), labels):
        assert record["is_right"] is True
        assert record["same_10_nearest"] > 0.99
        assert (record["map"] is None) == (record["search"] == INDEX)
    assert all(record["is_right"] for record in compared(vectors, by(noisy, precision="int8"), labels))
    assert not any(record["is_right"] for record in compared(vectors, by(noisy), labels))


@pytest.mark.parametrize("wrong", [np.full((400, 16), np.nan, np.float32), np.zeros((400, 15), np.float32)])
def test_vectors_that_cannot_be_compared_are_a_check_that_fails(wrong: Any) -> None:
    vectors, labels = clustered()
    (record,) = compared(vectors, by(wrong), labels)
    assert (record["kind"], record["holds"]) == ("check", False)
    assert is_wrong(record)


def test_few_queries_may_lose_what_they_cannot_tell() -> None:
    assert is_kept(0.005, 0.0)
    assert is_kept(-0.1, 0.001)
    assert not is_kept(0.0051, 0.002)
    assert is_kept(0.02, 0.01)
    assert not is_kept(0.03, 0.01)


def test_a_record_has_what_a_result_file_says_it_has_and_can_be_kept(tmp_path: Path) -> None:
    vectors, labels = clustered(60)
    fields = {
        "row", "original", "weights", "data", "protocol", "runtime", "precision", "search", "metric", "num_queries",
        "num_gallery", "at_k", "map", "mean_rank", "per_class", "same_10_nearest",
    }  # fmt: skip
    writer = records.Writer.begin(tmp_path / "results.jsonl", profile="quick", threads=1, packages=("numpy",))
    for record in compared(vectors, by(vectors), labels, searches=[EXACT], classes=CLASSES):
        assert fields <= set(record)
        assert record["per_class"].keys() <= set(CLASSES)
        writer.append(record)
    baseline(subject(labels, searches=[EXACT]), vectors, writer.append)
    kept = records.read(writer.path)
    assert len(kept.of("retrieval", protocol="leave-one-out")) == 2
    assert [record["is_right"] for record in kept.of("retrieval", runtime="pixels")] == [None, None]


# ------------------------------------------------------------------------------------------------------------------
# Published figures


def test_no_published_figure_is_there_twice() -> None:
    assert len({each.name for each in PUBLISHED}) == len(PUBLISHED)
    assert {each.row for each in PUBLISHED} == {1, 2, 3, 4, 5}
    assert len(of_row(3)) == 6 * 3 + 10


def test_a_figure_is_exact_to_the_digits_that_were_printed() -> None:
    published = Published(3, "x", "P@1", 0.789, decimals=3)
    (same,), (other,) = (beside([published], lambda _, v=v: v, note="why") for v in (0.78949, 0.7896))
    assert (same["is_exact"], same["note"], same["reproduced"]) == (True, "", 0.78949)
    assert (other["is_exact"], other["note"]) == (False, "why")
    (missing,) = left_out([published], "no weights")
    assert (missing["reproduced"], missing["is_exact"], missing["note"]) == (None, False, "no weights")


def test_published_names_are_found_in_a_record() -> None:
    vectors, labels = clustered(60)
    record = compared(vectors, by(vectors), labels, classes=CLASSES)[-1]
    assert figure(record, "P@5") == record["at_k"]["5"]["precision"]
    assert figure(record, "F1@20") == record["at_k"]["20"]["f1"]
    assert figure(record, "accuracy") == record["accuracy"]
    assert figure(record, "P@30 Ankle boot") == record["per_class"]["Ankle boot"]["at_k"]["30"]["precision"]
    assert figure(record, "P@7") is None
    assert figure(record, "P@30 Hat") is None
    for each in (*of_row(1), *of_row(2), *of_row(3)):
        assert figure(record, each.figure) is not None, each.name


# ------------------------------------------------------------------------------------------------------------------
# Rows


def measured(rows: list[int], **options: Any) -> list[records.Record]:
    found: list[records.Record] = []
    measure(rows, quick=True, emit=found.append, **options)
    return found


def test_a_row_that_is_not_measured_here_is_told() -> None:
    with pytest.raises(InputError, match="rows are 1, 2, 3, 4, 5, 6, 7; was also asked for \\[9\\]"):
        measured([1, 9])
    with pytest.raises(InputError, match="precisions are fp32, int8, bf16"):
        measured([1], precisions=("fp64",))
    with pytest.raises(InputError, match="at least 2 images"):
        measured([3], num_images=1)


def test_row_3_without_weights_is_left_out_with_all_its_figures() -> None:
    absent, *published = measured([3])
    assert absent["kind"] == "absent"
    assert "--weights-resnet101 imagenet" in absent["reason"]
    assert [record["published"] for record in published] == [each.value for each in of_row(3)]
    assert all(record["reproduced"] is None and record["note"] == absent["reason"] for record in published)


def test_row_4_comes_out_exactly_and_as_by_opencv(fashion_mnist_dir: Path) -> None:
    found = measured([4])
    published = [record for record in found if record["kind"] == "published"]
    assert len(published) == 10
    assert all(record["is_exact"] for record in published)
    assert [record["holds"] for record in found if record["kind"] == "check"] == [True]
    by_opencv, part, whole = (record for record in found if record["kind"] == "retrieval")
    assert part["at_k"] == by_opencv["at_k"]
    assert part["map"] == by_opencv["map"]
    assert (part["same_10_nearest"], part["is_right"], whole["is_right"]) == (1, True, True)
    assert (part["num_queries"], whole["num_queries"], whole["num_gallery"]) == (50, 500, 500)


def test_row_1_draws_the_published_queries() -> None:
    assert row_autoencoder.three_queries(10_000).tolist() == [9953, 3850, 4962]


def test_row_2_trains_only_when_asked_and_says_what_is_missing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    ran: list[list[str]] = []

    def train(command: list[str], **_: Any) -> Any:
        ran.append(command)
        out = Path(command[-1])
        out.write_bytes(b"weights")
        out.with_name(out.name.removesuffix(".weights.h5") + ".loss.png").write_bytes(b"curve")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(row_siamese.subprocess, "run", train)
    path = row_siamese.weights_of(1)
    assert not row_siamese._is_there(1, Asked())
    assert ran == []
    assert row_siamese._is_there(1, Asked(train=True))
    assert (len(ran), path.read_bytes()) == (1, b"weights")
    assert ran[0][1:6] == ["-m", "models.train", "siamese", "--loss", "triplet"]
    assert row_siamese._is_there(1, Asked(train=True))  # it is kept
    assert len(ran) == 1
    assert {file.name for file in path.parent.iterdir()} == {
        path.name, path.name.replace("weights.h5", "loss.png")
    }  # fmt: skip


def test_row_2_s_published_figures_are_means_over_seeds_with_their_spread() -> None:
    vectors, labels = clustered(60)
    record = compared(vectors, by(vectors), labels)[-1]
    at_k = record["at_k"]
    low, high = ({**record, "at_k": {**at_k, "5": {**at_k["5"], "precision": value}}} for value in (0.7, 0.9))
    precision, recall, hit = row_siamese._beside([low, high])
    assert precision["reproduced"] == pytest.approx(0.8)
    assert "mean of 2 seeds, 0.7000 to 0.9000" in precision["note"]
    assert recall["published"] == 0.0206
    assert hit["figure"] == "hit@5"


def test_row_3_s_way_with_a_small_original(fashion_mnist_dir: Path) -> None:
    """By TensorFlow in a process of its own, exported there, by the file, exactly and by the index."""
    found: list[records.Record] = []
    asked = Asked(num_images=60, precisions=("fp32",), threads=1)
    row_resnet101.measure_model(Model("siamese-published", "random"), asked, found.append)
    assert [(record["runtime"], record["search"]) for record in found] == [
        ("tensorflow", EXACT), ("tensorflow", INDEX), ("onnx", EXACT), ("onnx", INDEX),
    ]  # fmt: skip
    for record in found:
        assert record["is_right"] is True
        assert (record["num_queries"], record["num_gallery"]) == (60, 60)
        assert record["weights"] == "random, seed 0"
    assert found[2]["min_cosine"] > 0.99999


def test_the_command_fails_where_an_answer_is_wrong(monkeypatch: Any, capsys: Any) -> None:
    vectors, labels = clustered()

    def measure_wrongly(rows: Any, *, emit: Any, **_: Any) -> None:
        compare(subject(labels), [by(vectors, runtime="tensorflow"), by(vectors[::-1].copy())], emit)

    monkeypatch.setattr(command_line, "measure", measure_wrongly)
    monkeypatch.setattr(sys, "argv", ["originals", "--rows", "1"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert "WRONG" in printed.out
    assert printed.err == "error: an answer is not what it has to be; see WRONG above\n"
    found = json.loads(printed.out.splitlines()[-1])["records"]
    assert [each["is_right"] for each in found] == [True] * 4 + [False] * 4


def test_the_command_prints_tables_and_one_document_and_keeps_records(fashion_mnist_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "bench.originals", "--rows", "3", "4", "--quick", "--append", str(file)]
    for num_runs in (1, 2):
        ended = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        found = json.loads(ended.stdout.splitlines()[-1])["records"]
        kept = records.read(file)
        assert kept.run["profile"] == "quick"
        assert kept.records == found * num_runs
    assert "left out: row 3: resnet101-published" in ended.stdout
    (tmp_path / "other.txt").write_text("{}")  # no result file
    ended = subprocess.run([*command[:-1], str(tmp_path / "other.txt")], cwd=HERE, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
