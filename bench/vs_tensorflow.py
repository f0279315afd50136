"""How much faster exported files embed than their TensorFlow original, on the same threads in the same run.

    python -m bench.vs_tensorflow autoencoder siamese
    python -m bench.vs_tensorflow resnet101 --weights random --batches 1 32
    python -m bench.vs_tensorflow mobilenet --alpha 0.75 --weights FILE.h5 --backends cpu openvino --ceiling \
        --files mobilenet.onnx mobilenet.bf16.onnx mobilenet.int8.onnx

The race of `python -m bench run` for files and weights of one's own: the original as one compiled tf.function, with one
and with two inter-op threads (the faster one counts), and each file on each of the backends that compute in its
precision; without --files the fp32 file that `python -m export` writes. --ceiling adds the largest products that ONNX
Runtime reaches, which say how much of the processor a file uses. A call takes uint8 images as a numpy array and ends
with the embeddings as one. The last line on stdout is one JSON document with all times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.entries import AGAINST_ORIGINAL, XLA, backends, ceilings, of_files, originals, workloads
from bench.operations import operations_of
from bench.racing import Race, run_whole
from bench.records import Record
from bench.report import figures
from semblance.card import read_card

Images = NDArray[np.uint8]

PACKAGES = ("tensorflow", "keras", "onnxruntime", "tf2onnx", "onnx", "numpy")
_PARITY_IMAGES = 64  # of an export that only serves to be timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    weights: str | None = None
    alpha: float | None = None
    batches: Sequence[int] = (1,)
    threads: int = 2
    budget_s: float = 10.0
    files: Sequence[Path] = ()
    backends: Sequence[str] = ("cpu",)
    ceiling: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Of the original."""
        return {} if self.alpha is None else {"alpha": self.alpha}


def measure(model: str, asked: Asked) -> list[Record]:
    """A record for each batch size and contender. Raises BackendError where one of them could not take part."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process that ends: the conversion of a large network leaves gigabytes behind, which the race needs
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as converter:
            files, images = converter.submit(_files_and_images, model, asked, Path(folder)).result()
        given = originals(model, options=asked.options, weights=asked.weights, threads=asked.threads)
        entries = [each for each in given if each.contender == "tensorflow" and each.mark != XLA]
        entries += of_files(
            files,
            asked.backends,
            threads=asked.threads,
            max_batch=max(asked.batches),
            operations=float(operations_of(files[0])),
        )
        return run_whole(
            Race(
                suite="throughput",
                name=f"throughput/{model}",
                subject=model,
                entries=entries + (ceilings(asked.threads) if asked.ceiling else []),
                workloads=workloads(images, asked.batches),
                judge=AGAINST_ORIGINAL,
                budget_s=asked.budget_s,
            )
        )


def _files_and_images(model: str, asked: Asked, folder: Path) -> tuple[list[Path], Images]:
    """The files to compare, and images for the largest batch."""
    from export.images import parity_images
    from export.quiet import import_tensorflow_quietly
    from models.base import find

    files, original = list(asked.files), find(model, **asked.options)
    if not files:
        import_tensorflow_quietly()
        from export.write import export
        from models.weights import open_original

        opened = open_original(original, asked.weights)
        files, original = [folder / f"{model}.onnx"], opened.original
        export(opened, files[0], num_images=_PARITY_IMAGES)
    return files, parity_images(original, max(asked.batches)).images


# ------------------------------------------------------------------------------------------------------------------
# What is printed


def with_figures(records: Sequence[Record]) -> list[Record]:
    """The records, each with its medians, its ratio to the faster original of its batch, and its share of a ceiling."""
    return [record | _figures(record, [each for each in records if _is_beside(each, record)]) for record in records]


def _is_beside(one: Record, other: Record) -> bool:
    return bool(one["race"] == other["race"] and one["workload"] == other["workload"])


def _figures(record: Record, beside: Sequence[Record]) -> Record:
    own = figures.timing(record)
    assert own is not None
    fastest = max((each for each in beside if each["role"] == "original"), key=_rate)
    times = None if record["role"] == "ceiling" else figures.ratio(record, fastest)
    ceiling = next((each for each in beside if each["contender"] == f"product_{record['precision']}"), None)
    is_told = record["role"] == "engine" and ceiling is not None
    return {
        "median_ms": own.p50_s * 1e3,
        "p95_ms": own.p95_s * 1e3,
        "per_sec": own.rate.value,
        "num_calls": own.num_calls,
        "times_tensorflow": times.value if times else None,
        "noise": times.noise if times else None,
        "tensorflow_fastest": fastest["entry"],
        "share_of_ceiling": figures.share_of_ceiling(record, ceiling) if is_told and ceiling else None,
    }


def _rate(record: Record) -> float:
    timing = figures.timing(record)
    return timing.rate.value if timing else 0.0


def show(results: Sequence[Record], threads: int) -> None:
    """The table for people; a star marks TensorFlow's faster setting, which the ratio is taken to."""
    table = Table(title=f"{threads} threads each, in turns, decoding outside")
    for heading in ("model", "batch", "contender", "median ms", "p95 ms", "per s", "ratio", "cosine", "of ceiling"):
        table.add_column(heading, justify="left" if heading in ("model", "contender") else "right", no_wrap=True)
    batch = None
    for row in results:
        if batch not in (None, row["workload"]["batch"]):
            table.add_section()
        batch = row["workload"]["batch"]
        mark = " *" if row["entry"] == row["tensorflow_fastest"] else ""
        is_ceiling = row["role"] == "ceiling"
        rate = f"{row['per_sec'] / 1e9:,.0f} GOP" if is_ceiling else f"{row['per_sec']:,.0f}"
        cosine = row["answers"]["value"] if row["answers"] else None
        table.add_row(
            row["subject"], str(batch), row["entry"] + mark, f"{row['median_ms']:.3f}", f"{row['p95_ms']:.3f}", rate,
            "" if is_ceiling else f"{row['times_tensorflow']:.2f}", "" if cosine is None else f"{cosine:.6f}",
            "" if row["share_of_ceiling"] is None else f"{row['share_of_ceiling']:.0%}",
        )  # fmt: skip
    Console(width=130).print(table)


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.vs_tensorflow", description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="originals of models/")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32, 256], metavar="N")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default=None, help="random, imagenet or a file; default: the original's own")
    parser.add_argument("--alpha", type=float, default=None, help="MobileNet's width")
    parser.add_argument("--files", nargs="+", type=Path, default=[], metavar="FILE.onnx", help="exports of one MODEL")
    parser.add_argument("--backends", nargs="+", default=["cpu"], choices=list(backends()), help="that run the files")
    parser.add_argument("--ceiling", action="store_true", help="measure the fastest products as well")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each batch size is measured")
    given = parser.parse_args()
    if min(*given.batches, given.threads, 1) < 1:
        parser.error("--batches and --threads must be at least 1")
    if given.files and len(given.models) > 1:
        parser.error("--files are exports of one MODEL")
    described = machine(*PACKAGES)  # before the measurement, whose own load it must not show
    asked = Asked(
        weights=given.weights,
        alpha=given.alpha,
        batches=given.batches,
        threads=given.threads,
        budget_s=given.seconds,
        files=given.files,
        backends=given.backends,
        ceiling=given.ceiling,
    )
    results: list[Record] = []
    with mistakes_in_one_line():
        from models.base import find

        for model in given.models:
            find(model, **asked.options)  # a wrong name is told before any work
        for file in given.files:
            read_card(file)
        for model in given.models:
            results += with_figures(measure(model, asked))
    show(results, given.threads)
    print(json.dumps({"machine": described, "threads": given.threads, "results": results}))


if __name__ == "__main__":
    main()
