"""Entries of races of embedding: a TensorFlow original as it runs, a model's files on the backends, the ceilings.

In: an original, or files. Out: entries, each with what its answers must reach. Which backend computes in which
precision is the engine's knowledge; a backend's contender is the file that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.answers import mean_cosine
from bench.contenders import find, names
from bench.contenders.embedding import product_bf16, product_fp32, product_int8
from bench.racing import Entry, Judge, Workload
from semblance.card import read_card
from semblance.errors import InputError
from semblance.inference.backends.providers import PROVIDERS

# Cosines to the original that an answer must reach on average: fp32 differs by rounding; what narrower numbers may do
# to neighbours is judged by retrieval
LEAST = {"fp32": 0.99999, "fp16": 0.999, "bf16": 0.99, "int8": 0.98}
PRECISIONS = {"openvino": ("fp32", "bf16", "int8")}  # ONNX Runtime's providers have a table of their own

XLA = "XLA"
ORIGINAL = "tensorflow fp32"  # the entry that answers are held against
AGAINST_ORIGINAL = Judge("mean cosine", ORIGINAL, mean_cosine)


def originals(name: str, *, options: Mapping[str, Any], weights: str | None, threads: int) -> list[Entry]:
    """TensorFlow with one and with two inter-op threads, compiled by XLA, and as the experiments call it."""
    given = {"original": name, "original_options": dict(options), "weights": weights}
    function = Entry(
        kind="embedding", contender="tensorflow", precision="fp32", threads=threads, least=LEAST["fp32"],
        options=given | {"inter_threads": 1, "is_xla": False},
    )  # fmt: skip
    return [
        function,
        replace(function, options=given | {"inter_threads": 2, "is_xla": False}, mark="2 inter-op"),
        replace(function, options=given | {"inter_threads": 1, "is_xla": True}, mark=XLA),
        replace(function, options=given, contender="keras_predict"),
    ]


@cache
def backends() -> dict[str, str]:
    """The contender of each of the engine's backends."""
    files = {name: find("embedding", name) for name in names("embedding")}
    return {file.BACKEND: name for name, file in files.items() if hasattr(file, "BACKEND")}


def entry(
    path: Path, precision: str, backend: str, *, threads: int, max_batch: int, operations: float | None = None
) -> Entry:
    """A file on a backend. OpenVINO computes fp16 as fp32 on processors, which the entry's name says."""
    return Entry(
        kind="embedding", contender=backends()[backend], backend=backend, precision=precision, threads=threads,
        options={"file": str(path), "max_batch": max_batch}, least=LEAST[precision], operations_per_item=operations,
        mark="as fp32" if precision == "fp16" and backend == "openvino" else "",
    )  # fmt: skip


def plain(path: Path, *, threads: int, operations: float | None = None) -> Entry:
    """An fp32 file through ONNX Runtime without the engine."""
    return Entry(
        kind="embedding", contender="ort_plain", precision="fp32", threads=threads, options={"file": str(path)},
        least=LEAST["fp32"], operations_per_item=operations,
    )  # fmt: skip


def of_files(
    files: Sequence[Path], chosen: Sequence[str], *, threads: int, max_batch: int, operations: float | None = None
) -> list[Entry]:
    """An entry for each file on each of the chosen backends that computes in its precision.

    fp16 is none of a CPU's: ONNX Runtime computes it as fp32, after turning it over. Raises InputError for a file that
    no backend takes, and for two files of one precision.
    """
    found: list[Entry] = []
    seen: set[str] = set()
    for file in files:
        precision = read_card(file).precision
        of_file = [
            entry(file, precision, backend, threads=threads, max_batch=max_batch, operations=operations)
            for backend in chosen
            if (precision in PROVIDERS[backend].precisions if backend in PROVIDERS else True)
            and not (backend == "cpu" and precision == "fp16")
        ]
        if not of_file:
            told = ", ".join(chosen)
            raise InputError(f"{file} is {precision}, which none of the backends {told} computes in; leave it out")
        if precision in seen:
            raise InputError(f"{file} is {precision}, and so is another file; give one of each precision")
        seen.add(precision)
        found += of_file
    return found


def ceilings(threads: int) -> list[Entry]:
    """The largest products, of float32, bfloat16 and bytes. Of one call of theirs items are operations."""
    return [
        Entry(
            kind="embedding", contender=f"product_{precision}", precision=precision, threads=threads, items=operations
        )
        for precision, operations in (
            ("fp32", product_fp32.OPERATIONS), ("bf16", product_bf16.OPERATIONS), ("int8", product_int8.OPERATIONS),
        )
    ]  # fmt: skip


def workloads(images: NDArray[np.uint8], batches: Sequence[int]) -> list[Workload]:
    """The first of images [N, H, W, C], again where they are too few, at each batch size."""
    return [
        Workload(
            name=f"batch {batch}",
            given=images[np.arange(batch) % len(images)],
            items=batch,
            facts={"batch": batch, "image": "x".join(map(str, images.shape[1:]))},
        )
        for batch in batches
    ]
