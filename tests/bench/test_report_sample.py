"""A made-up result file with records of every kind, for the tests of the report, and a test that it is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.records import KINDS, Results, Writer, read
from semblance.inputs.datasets import CLASSES

NAUGHTY = "<script>alert('x')</script> & co"  # must be escaped wherever it comes to stand

# contender, title, role, backend, precision, speed as times TensorFlow's, at batch 1 and at the largest
_EMBEDDERS = (
    ("tensorflow", "TensorFlow", "original", None, "fp32", (1.0, 1.0)),
    ("keras_predict", "Keras predict", "original", None, "fp32", (0.05, 0.7)),
    ("ort_cpu", "ONNX Runtime (engine)", "engine", "cpu", "fp32", (8.0, 1.3)),
    ("ort_cpu", "ONNX Runtime (engine)", "engine", "cpu", "int8", (11.0, 2.9)),
    ("openvino_cpu", "OpenVINO (engine)", "engine", "openvino", "bf16", (5.5, 2.4)),
    ("openvino_cpu", "OpenVINO (engine)", "engine", "openvino", "int8", (7.0, 2.5)),
    ("ort_plain", "plain ONNX Runtime", "peer", None, "fp32", (6.0, 1.1)),
)
_MODELS = {"autoencoder": 36_000.0, "siamese": 8_700.0, "mobilenet": 190.0, "resnet101": 12.0}  # TensorFlow's images/s


def sample(path: Path, *, slower: float = 1.0, seed: int = 0, started: str | None = None) -> Results:
    """A file at `path`, read back; `slower` is what the engine's times are multiplied by."""
    rng = np.random.default_rng(seed)
    writer = Writer.begin(path, profile="quick", threads=2, packages=("numpy",))
    if started:
        path.write_text(path.read_text().replace(read(path).run["started"], started))
    for record in [*_models(rng, slower), *_files(rng), *_start_up(rng), *_index(rng), *_matching(rng), *_known(rng)]:
        writer.append(record)
    for record in [*_retrieval(), *_published(), *_scenarios(rng), *_others()]:
        writer.append(record)
    return read(path)


def race(suite: str = "throughput", **changed: Any) -> dict[str, Any]:
    """A race record."""
    record: dict[str, Any] = {
        "kind": "race", "suite": suite, "race": f"{suite}/siamese", "workload": {"name": "batch 32", "batch": 32},
        "subject": "siamese", "contender": "ort_cpu", "title": "ONNX Runtime (engine)", "role": "engine",
        "backend": "cpu", "precision": "fp32", "threads": 2, "is_decode_inside": False, "items": 32, "unit": "images",
        "seconds": [[0.1, 0.1]], "load_s": 0.2, "load_bytes": None, "peak_bytes": 2**28, "answers": None,
        "operations_per_item": None, "versions": {"onnxruntime": "1.31.1"},
    }  # fmt: skip
    record |= changed
    named = (record["contender"], record["precision"], changed.get("mark"))
    record.setdefault("entry", " ".join(filter(None, named)))
    record.pop("mark", None)
    return record


def rounds(rng: np.random.Generator, median_s: float, num_rounds: int = 5, num_calls: int = 12) -> list[list[float]]:
    """Times about a median, with a tail, of rounds that differ."""
    return [
        [round(float(each), 9) for each in median_s * rng.normal(1, 0.03) * (1 + rng.exponential(0.06, num_calls))]
        for _ in range(num_rounds)
    ]


def test_the_sample_has_every_kind(tmp_path: Path) -> None:
    found = sample(tmp_path / "a.jsonl")
    assert {each["kind"] for each in found.records} == set(KINDS) - {"run"}


# ------------------------------------------------------------------------------------------------------------------


def _models(rng: np.random.Generator, slower: float) -> list[dict[str, Any]]:
    records = []
    for model, rate in _MODELS.items():
        for batch in (1, 8, 32) if rate < 1_000 else (1, 32, 256):
            for suite in ("throughput", "latency") if batch == 1 else ("throughput",):
                small = 0.35 + 0.65 * np.log2(batch + 1) / 8
                common = {
                    "race": f"{suite}/{model}", "subject": model, "items": batch,
                    "workload": {"name": f"batch {batch}", "batch": batch}, "operations_per_item": 3e10 / rate**0.9,
                }  # fmt: skip
                for contender, title, role, backend, precision, (one, many) in _EMBEDDERS:
                    speed = one + (many - one) * np.log2(batch) / 8
                    seconds = batch / (rate * small * speed) * (slower if role == "engine" else 1)
                    answers = {"measure": "mean cosine", "value": 0.99996, "against": "tensorflow", "is_right": True}
                    records.append(
                        race(suite, **common, contender=contender, title=title, role=role, backend=backend,
                             precision=precision, seconds=rounds(rng, seconds), answers=answers)
                    )  # fmt: skip
            for precision, operations in (("int8", 8e11), ("fp32", 2.4e11)):
                records.append(race("throughput", **common | {"race": f"throughput/{model}", "items": 1e9},
                                    contender=f"product_{precision}", title=f"product of {precision}", role="ceiling",
                                    precision=precision, backend=None, unit="operations",
                                    seconds=rounds(rng, 1e9 / operations)))  # fmt: skip
    return records


def _files(rng: np.random.Generator) -> list[dict[str, Any]]:
    common = {"race": "end_to_end/mobilenet", "subject": "mobilenet", "items": 256, "is_decode_inside": True,
              "workload": {"name": "1,000 JPEG files", "num_files": 1000}}  # fmt: skip
    given = (
        ("tensorflow_files", "TensorFlow, tf.data", "original", None, "fp32", 110),
        ("semblance_files", "semblance embed", "engine", "cpu", "fp32", 230),
        ("semblance_files", "semblance embed", "engine", "cpu", "int8", 480),
        ("decode_alone", "decoding alone", "ceiling", None, None, 900),
        ("inference_alone", "inference alone", "ceiling", "cpu", "fp32", 260),
        ("inference_alone", "inference alone", "ceiling", "cpu", "int8", 620),
    )
    return [race("end_to_end", **common, contender=contender, title=title, role=role, backend=backend,
                 precision=precision, seconds=rounds(rng, 256 / rate, num_calls=2))
            for contender, title, role, backend, precision, rate in given]  # fmt: skip


def _start_up(rng: np.random.Generator) -> list[dict[str, Any]]:
    common = {"race": "start_up/siamese", "workload": {"name": "one PNG file"}, "items": 1, "unit": "starts",
              "is_decode_inside": True, "precision": "fp32"}  # fmt: skip
    return [race("start_up", **common, contender=contender, title=title, role=role, seconds=rounds(rng, seconds, 5, 1))
            for contender, title, role, seconds in (("tensorflow", "TensorFlow", "original", 6.1),
                                                    ("semblance", "semblance", "engine", 0.4))]  # fmt: skip


def _index(rng: np.random.Generator) -> list[dict[str, Any]]:
    given = (  # rate at ef 64, recall there, seconds of building, MiB
        ("sklearn_brute", "scikit-learn, brute force", "original", 900, 1.0, 0.01, 26),
        ("semblance_i8", "semblance", "engine", 42_200, 0.9999, 5.2, 40),
        ("semblance_exact", "semblance, exact", "engine", 5_900, 1.0, 0.1, 30),
        ("faiss_hnsw", "faiss HNSW", "peer", 28_300, 0.9996, 7.6, 90),
        ("hnswlib", "hnswlib", "peer", 34_300, 0.9994, 6.4, 80),
    )
    records = []
    for rows, dimension in ((60_000, 64), (50_000, 2048)):
        for num, ef in ((1, 64), (200, 64), (2000, 16), (2000, 64), (2000, 256)):
            name = "one query" if num == 1 else f"{num:,} queries, ef {ef}"
            for contender, title, role, rate, recall, load_s, mib in given:
                is_graph = recall < 1
                if (not is_graph and ef != 64) or (role == "original" and num > 200):
                    continue
                rate = rate * (64 / dimension) ** 0.6 * (64 / ef) ** 0.8 / (3 if num == 1 else 1)
                value = recall - (1 - 16 / ef if ef < 64 else 0) - (0.02 if ef < 64 else 0) if is_graph else 1.0
                answers = {"measure": "recall at 10", "value": value, "against": "float64", "is_right": True}
                records.append(
                    race("index", race=f"index/{dimension}", subject=f"made up, {rows:,} x {dimension}-d",
                         workload={"name": name, "rows": rows, "dimension": dimension, "queries": num, "ef": ef},
                         contender=contender, title=title, role=role, backend=None, precision=None, items=num,
                         unit="queries", load_s=load_s * dimension / 64, load_bytes=mib * 2**20,
                         seconds=rounds(rng, num / rate, 5, 3), answers=None if num == 1 else answers)
                )  # fmt: skip
    return records


def _matching(rng: np.random.Generator) -> list[dict[str, Any]]:
    given = (("bfmatcher", "BFMatcher and ratio loop", "original", 6.8, 1.0),
             ("semblance", "semblance", "engine", 0.93, 1.0),
             ("faiss_flat", "faiss flat", "peer", 2.9, 1.0), ("flann", "FLANN", "peer", 12, 0.91))  # fmt: skip
    return [
        race("matching", race="matching/sift", subject="SIFT", items=1, unit="pairs", contender=contender, title=title,
             workload={"name": f"{count:,} x {count:,}", "num_query": count, "num_train": [count]}, role=role,
             backend=None, precision=None, seconds=rounds(rng, ms / 1e3 * (count / 750) ** 1.7),
             answers={"measure": "share of BFMatcher's matches", "value": right, "against": "bfmatcher",
                      "is_right": right > 0.99})
        for count in (750, 2000, 4000) for contender, title, role, ms, right in given
    ]  # fmt: skip


def _known(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [race("known", race="known/harness", subject="harness", workload={"name": "numbers"}, title="takes 5 ms",
                 contender="sleeps_5_ms", role="known", precision=None, backend=None, items=1, unit="operations",
                 seconds=rounds(rng, 0.005))]  # fmt: skip


def _retrieval() -> list[dict[str, Any]]:
    def figures(p: float) -> dict[str, Any]:
        at_k = {str(k): {"precision": p - 0.0006 * k, "recall": p * k / 1000, "f1": p * k / 600,
                         "hit": min(1, p + k / 200), "average_precision": p - 0.01}
                for k in (1, 2, 5, 10, 15, 20, 30)}  # fmt: skip
        return {"at_k": at_k, "accuracy": p, "map": p - 0.2, "mean_rank": 1400.0}

    given = (
        (1, "autoencoder", "l2sq", 0.8057), (2, "siamese", "cos", 0.897), (3, "resnet101-published", "cos", 0.789),
    )  # fmt: skip
    return [
        {"kind": "retrieval", "row": row, "original": original, "weights": "shipped", "data": "Fashion-MNIST",
         "protocol": "leave one out", "runtime": runtime.split()[0],
         "backend": " ".join(runtime.split()[1:]), "is_right": True, "lost_p_at_10": -less,
         "precision": precision, "search": search, "metric": metric,
         "num_queries": 10_000, "num_gallery": 9_999, "same_10_nearest": same, **figures(p + less),
         "per_class": {name: figures(p + 0.03 * (number % 5) - 0.1) for number, name in enumerate(CLASSES)}}
        for row, original, metric, p in given
        for runtime, precision, search, same, less in (
            ("tensorflow", "fp32", "exact", None, 0), ("onnx cpu", "fp32", "exact", 1.0, 0),
            ("onnx cpu", "fp32", "index", 0.9991, -0.0002), ("onnx cpu", "int8", "exact", 0.93, -0.0004),
            ("onnx openvino", "bf16", "exact", 0.98, 0.0003))
    ]  # fmt: skip


def _published() -> list[dict[str, Any]]:
    given = (
        (1, "autoencoder-published", "P@5", 0.8, 0.8, True, NAUGHTY),
        (1, "autoencoder-published", "R@5", 0.004, 0.004, True, ""),
        *((3, "resnet101-published", f"P@{k}", 0.789, 0.789, True, "") for k in (1, 2, 5, 15, 20)),
        *((3, "resnet101-published", f"P@30 {name}", 0.6, None, False, "no ImageNet weights here") for name in CLASSES),
        (2, "siamese-published", "P@5", 0.818, 0.779, False, "the published file holds an untrained network"),
        (4, "sift", "score (10, 1)", 66.67, 66.666667, True, "two train images by number"),
        (5, "cnn-baseline", "mean rank", 341.0, None, None, "its photographs were not published"),
    )  # fmt: skip
    return [{"kind": "published", "row": row, "original": original, "figure": figure, "published": published,
             "reproduced": reproduced, "is_exact": is_exact, "note": note, "protocol": "as published"}
            for row, original, figure, published, reproduced, is_exact, note in given]  # fmt: skip


def _scenarios(rng: np.random.Generator) -> list[dict[str, Any]]:
    given = (("SingleStream", "p90 latency", "ms", 0.12, 0.28), ("MultiStream", "p99 latency", "ms", 1.1, 1.2),
             ("Server", "rate", "queries/s", 11_400, 3_520),
             ("Offline", "throughput", "samples/s", 21_200, 8_910))  # fmt: skip
    return [
        {"kind": "scenario", "model": "siamese", "precision": "int8", "backend": "cpu", "threads": 2, "scenario": name,
         "samples": "encoded" if inside else "decoded", "is_decode_inside": inside, "is_official": False,
         "metric": metric, "unit": unit, "value": value, "is_valid": not inside, "num_queries": 4_000,
         "latency_bound_ms": 15.0 if name == "Server" else None, "latencies_ns": rng.integers(1, 9, 4).tolist(),
         "accuracy": {"holds": True, "num_samples": 64, "num_wrong": 0, "num_missing": 0, "num_repeated": 0}}
        for name, metric, unit, *values in given for inside, value in zip((False, True), values, strict=True)
    ]  # fmt: skip


def _others() -> list[dict[str, Any]]:
    return [
        {"kind": "stages", "subject": model, "num_images": 4_370, "wall_s": wall, "threads": 2,
         "seconds": {"decode": 9.0, "inference": inference, "write": 0.6}}
        for model, wall, inference in (("mobilenet", 17.0, 15.2), ("mobilenet.int8", 10.2, 7.3))
    ] + [
        {"kind": "absent", "suite": "throughput", "race": f"throughput/{model}", "subject": model, "contender": name,
         "precision": None, "reason": reason}
        for model in ("siamese", "mobilenet")
        for name, reason in (("torch_compiled", f"torch is not installed (pip install torch) {NAUGHTY}"),
                             ("ort_cuda", "no NVIDIA GPU on this machine"))
    ] + [
        {"kind": "check", "claim": "a contender that takes 5 ms is measured so", "found": "5.02 ms", "holds": True},
        {"kind": "check", "claim": "each class's first image is scored", "holds": True,
         "found": {"images": [1, 2], "others": [3, 4], "other_classes": ["Coat", "Bag"], "num_best_of_own_class": 1,
                   "scores": [[66.67, 0.0], [20.0, 100.0]]}},
        {"kind": "check", "claim": "shuffled answers are found", "found": "recall .02, marked wrong", "holds": True},
    ]  # fmt: skip
