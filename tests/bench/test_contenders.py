"""Every contender keeps the contract, brings nothing heavy with it until it is loaded, and answers rightly.

Speed is not tested. Those that need a GPU are read, not run.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.answers import mean_cosine
from bench.contenders import KINDS, Asked, Loaded, Role, find, names, versions
from bench.contenders.index_task import Search
from bench.contenders.matching_task import Pair
from bench.contenders.programs import running
from bench.neighbours import plain_search, recall, recall_of_ties
from bench.racing import Entry, Judge, Race, Workload, run_race
from bench.suites.test_matching import LEAST, plain_matches
from semblance.errors import InputError
from semblance.inference.models import zoo_folder
from semblance.inputs.datasets import fashion_mnist
from tests.conftest import make_tiny_model

ROOT = Path(__file__).parents[2]
EVERY = [(kind, name) for kind in KINDS for name in names(kind)]
HEAVY = (
    "tensorflow",
    "keras",
    "faiss",
    "onnxruntime",
    "openvino",
    "onnx",
    "sklearn",
    "usearch",
    "hnswlib",
    "cv2",
    "PIL",
)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_contender_has_the_names_of_the_contract(kind: str, name: str) -> None:
    file: Any = find(kind, name)
    assert file.__doc__
    assert isinstance(file.TITLE, str)
    assert file.TITLE
    assert file.ROLE in get_args(Role)
    assert isinstance(file.PACKAGES, tuple)
    assert file.load.__doc__
    assert file.load.__annotations__ == {"asked": "Asked", "return": "Loaded"}


def test_importing_all_of_them_brings_nothing_heavy() -> None:
    program = f"""
import json, sys
from bench.contenders import KINDS, find, names
for kind in KINDS:
    for name in names(kind):
        find(kind, name)
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == []


# ----------------------------------------------------------------------------------------------------------------------
# Index

EXACT = {"semblance_exact", "faiss_flat", "sklearn_brute"}


def unit(num: int, dimension: int = 16, *, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((num, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def built(name: str, folder: Path, vectors: NDArray[np.float32], metric: str = "cos") -> Loaded:
    np.save(folder / "vectors.npy", vectors)
    return find("index", name).load(Asked(2, {"vectors": str(folder / "vectors.npy"), "metric": metric}))


def answered(contender: Loaded, given: Any) -> Any:
    return contender.answers(contender.run(contender.prepare(given)))


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
@pytest.mark.parametrize("name", names("index"))
def test_an_index_finds_what_the_plain_search_finds(tmp_path: Path, name: str, metric: str) -> None:
    vectors, queries = unit(500), unit(40, seed=1)
    found = answered(built(name, tmp_path, vectors, metric), Search(queries, 10, 128))
    assert found.shape == (40, 10)
    assert found.dtype == np.int64
    truth = plain_search(queries, vectors, 10)
    assert recall_of_ties(found, truth, queries, vectors) >= (1.0 if name in EXACT else 0.95)


@pytest.mark.parametrize("name", names("index"))
def test_an_index_finds_ties_and_a_single_row(tmp_path: Path, name: str) -> None:
    vectors, queries = unit(50).repeat(4, axis=0), unit(20, seed=1)
    found = answered(built(name, tmp_path, vectors), Search(queries, 4, 64))
    truth = plain_search(queries, vectors, 4)
    assert recall_of_ties(found, truth, queries, vectors) >= (1.0 if name in EXACT else 0.9)
    assert answered(built(name, tmp_path, vectors[:1]), Search(queries, 1)).tolist() == [[0]] * 20


@pytest.mark.parametrize("name", names("index"))
def test_single_queries_come_one_after_another(tmp_path: Path, name: str) -> None:
    vectors = unit(30)
    contender = built(name, tmp_path, vectors)
    calls = contender.prepare(Search(vectors[:3], 1, is_single=True))
    rows = [contender.answers(contender.run(calls)).tolist() for _ in range(4)]
    assert rows == [[[0]], [[1]], [[2]], [[0]]]


def test_recall_counts_ties_as_right_and_a_row_once() -> None:
    vectors = unit(3).repeat(2, axis=0)  # rows 0 and 1 are equal, 2 and 3, 4 and 5
    queries, truth = vectors[:1], np.array([[0]])
    assert recall(np.array([[1]]), truth) == 0
    assert recall_of_ties(np.array([[1]]), truth, queries, vectors) == 1
    both = np.array([[0, 1]])
    assert recall_of_ties(np.array([[1, 1]]), both, queries, vectors) == 0.5
    assert recall_of_ties(np.array([[1, -1]]), both, queries, vectors) == 0.5
    assert recall_of_ties(np.array([[0, 2]]), both, queries, vectors) == 0.5


# ----------------------------------------------------------------------------------------------------------------------
# Matching


def descriptors(num: int, *, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 200, (num, 128), dtype=np.uint8)


def pairs() -> Iterator[tuple[str, Pair]]:
    """One and many other pictures, with copies that are a little off, and those that are too few to match."""
    query, none = descriptors(60, seed=0), descriptors(0, seed=0)
    near = np.concatenate([query[:40] + np.uint8(3), descriptors(30, seed=1)])
    yield "one", Pair(query, (near,))
    yield "many", Pair(query, (near, none, descriptors(1, seed=2), near[::-1].copy()))
    yield "nothing alike", Pair(query, (descriptors(50, seed=3),))
    yield "no query", Pair(none, (near,))
    yield "no train", Pair(query, (none,))
    yield "one descriptor", Pair(query, (query[:1],))
    yield "a tie at no distance", Pair(query[:2], (query[[0, 0, 1]],))


@pytest.mark.parametrize("name", names("matching"))
@pytest.mark.parametrize(("case", "pair"), list(pairs()), ids=[case for case, _ in pairs()])
def test_matches_are_those_of_the_plain_search(name: str, case: str, pair: Pair) -> None:
    expected = plain_matches(pair.query, list(pair.train))
    assert len(expected) == {"one": 40, "many": 80, "a tie at no distance": 1}.get(case, 0)
    found = answered(find("matching", name).load(Asked(1)), pair)
    assert found.dtype == np.int64
    assert found.shape[1] == 3
    if name == "flann":  # may miss some
        truth, expected = expected.tolist(), [row for row in expected.tolist() if row in found.tolist()]
        assert len(expected) >= LEAST[name] * len(truth)
    np.testing.assert_array_equal(found, np.reshape(expected, (-1, 3)))


# ----------------------------------------------------------------------------------------------------------------------
# Files, and programs that start


def write_pictures(folder: Path, pictures: NDArray[np.uint8]) -> list[str]:
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return [str(path) for path in paths]


@pytest.mark.parametrize("name", ["semblance_cpu", "semblance_openvino", "pillow_ort", "inference_alone"])
def test_files_are_embedded_in_their_order(tmp_path: Path, name: str) -> None:
    model = make_tiny_model(tmp_path / "tiny.onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    options = {"file": str(model.path), "batch": 2, "backend": "cpu"}
    found = answered(find("files", name).load(Asked(1, options)), write_pictures(tmp_path, pictures))
    np.testing.assert_allclose(found, model.embed(pictures[..., None]), rtol=1e-4, atol=1e-4)


def test_decoding_alone_embeds_nothing(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny.onnx")
    paths = write_pictures(tmp_path, np.zeros((3, 30, 20), np.uint8))
    contender = find("files", "decode_alone").load(Asked(1, {"file": str(model.path), "batch": 2}))
    assert contender.run(contender.prepare(paths)) == 3 * 8  # rows of pixels, of pictures that were made to fit
    assert answered(contender, paths) is None


ORIGINAL = {"original": "siamese", "original_options": {}, "weights": None}
ZOO = {"file": str(zoo_folder() / "siamese.onnx")}


def test_tensorflows_ways_from_files_agree_with_ours(tmp_path: Path, fashion_mnist_dir: Path) -> None:
    paths = write_pictures(tmp_path, fashion_mnist("test")[0][:3])
    entries = [
        Entry(kind="files", contender=name, threads=1, options=options | {"batch": 2}, least=0.99999)
        for name, options in (("tensorflow", ORIGINAL), ("keras_predict", ORIGINAL), ("semblance_cpu", ZOO))
    ]
    race = Race(
        suite="any", name="any", subject="any", entries=entries, budget_s=0.0,
        workloads=[Workload(name="three", given=paths, items=3)],
        judge=Judge("mean cosine", "tensorflow", mean_cosine),
    )  # fmt: skip
    records = run_race(race)
    assert [each.get("reason") for each in records] == [None] * 3
    assert all(each["answers"]["is_right"] for each in records)


def test_programs_that_start_give_the_same_embedding(tmp_path: Path, fashion_mnist_dir: Path) -> None:
    (path,) = write_pictures(tmp_path, fashion_mnist("test")[0][:1])
    asked = {"semblance": ZOO, "tensorflow": ORIGINAL, "keras_predict": ORIGINAL}
    assert sorted(asked) == names("start_up")
    found = {name: answered(find("start_up", name).load(Asked(1, each)), path) for name, each in asked.items()}
    for each in found.values():
        assert each.shape == (1, 64)
        np.testing.assert_allclose(each, found["tensorflow"], atol=1e-5)


def test_a_program_that_fails_is_an_error(tmp_path: Path) -> None:
    contender = find("start_up", "semblance").load(Asked(1, {"file": str(tmp_path / "missing.onnx")}))
    with pytest.raises(subprocess.CalledProcessError):
        contender.run(str(tmp_path / "missing.png"))


def test_a_program_s_memory_is_its_own_not_that_of_the_process_that_starts_it() -> None:
    contender = running("import sys; kept = b'x' * 300_000_000; print(sys.argv[1])")
    assert contender.run("00000000") == "00000000\n"
    assert contender.peak_bytes is not None
    assert contender.peak_bytes() > 300_000_000


def test_another_wheel_of_the_same_library_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"onnxruntime-gpu": "1.31.1"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert versions(find("embedding", "ort_cpu")) == {"onnxruntime-gpu": "1.31.1"}
    there.clear()
    with pytest.raises(InputError, match=r"onnxruntime is not installed \(pip install onnxruntime\)"):
        versions(find("embedding", "ort_cpu"))
