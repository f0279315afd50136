"""What each precision of a model finds and how fast, on each backend that computes in it: the gate, as one table.

    python -m bench.precision siamese siamese.int8.onnx siamese.bf16.onnx
    python -m bench.precision mobilenet.onnx mobilenet.int8.onnx mobilenet.bf16.onnx --backends cpu openvino

In: the files of one model, the fp32 one first. Out: for each file and backend the precision at 1 and 10 over real
labelled images (Fashion-MNIST's test images or Caltech101, as for the export's own gate), how many of the ten nearest
are those of fp32, how far the vectors turned, and images/s; and a warning where the images tell little. The contenders
live in processes of their own and take turns, so that whatever else the machine does meets all of them. The last line
on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.entries import backends, of_files, workloads
from bench.racing import Entry, Race, run_whole
from bench.report import figures
from bench.vs_tensorflow import Asked
from export.gate import Judge
from export.labelled import FEWEST, Labelled, open_domain
from semblance.card import read_card
from semblance.errors import InputError
from semblance.inference.models import find_model
from semblance.inference.session import Session


def found_by(file: Path, backend: str, images: Labelled, threads: int) -> np.ndarray:
    """Embeddings [N, D] of all images."""
    return Session(file, backend=backend, threads=threads).run(images.images)


def measure(files: list[Path], asked: Asked, *, source: str | None, num_gate: int | None) -> list[dict[str, Any]]:
    """One row for each file on each backend. Raises InputError for files of several models, or without fp32 first."""
    cards = [read_card(file) for file in files]
    if cards[0].precision != "fp32":
        raise InputError(
            f"{files[0]} is {cards[0].precision}; give the fp32 file first, the others are held against it"
        )
    for file, card in zip(files, cards, strict=True):
        if card.fingerprint != cards[0].fingerprint:
            raise InputError(f"{file} is of another embedding space than {files[0]}; give the files of one model")
    images = open_domain(cards[0], source, num_gate=num_gate).gate
    entries = of_files(files, asked.backends, threads=asked.threads, max_batch=max(asked.batches))
    reference = found_by(files[0], "cpu", images, asked.threads)
    judge = Judge(reference, images.labels, metric=cards[0].metric, images=images.described)
    rates = _rates(cards[0].name, entries, images, asked)
    rows = []
    for entry in entries:
        assert entry.backend is not None
        file = Path(entry.options["file"])
        gate = judge.measure(found_by(file, entry.backend, images, asked.threads), backend=entry.backend)
        rows.append(
            {
                "name": entry.name,
                "file": file.name,
                "bytes": file.stat().st_size,
                **gate.as_card(forced=False),
                "images_per_sec": rates[entry.name],
            }
        )
    return rows


def _rates(model: str, entries: list[Entry], images: Labelled, asked: Asked) -> dict[str, dict[str, float]]:
    """Images a second of each entry at each batch size. Raises BackendError where one could not take part."""
    race = Race(
        suite="throughput",
        name=f"throughput/{model}",
        subject=model,
        entries=entries,
        workloads=workloads(images.images, asked.batches),
        budget_s=asked.budget_s,
    )
    rates: dict[str, dict[str, float]] = {entry.name: {} for entry in entries}
    for record in run_whole(race):
        timing = figures.timing(record)
        assert timing is not None
        rates[record["entry"]][str(record["workload"]["batch"])] = timing.rate.value
    return rates


def show(rows: list[dict[str, Any]], batches: list[int]) -> None:
    """The table for people."""
    title = f"{rows[0]['images']}, each a query among the others; P@10 by chance {rows[0]['chance']:.4f}"
    table = Table(title=title)
    table.add_column("backend, precision")
    for heading in ("P@1", "P@10", "lost", "overlap@10", "cosine", "least", "MB"):
        table.add_column(heading, justify="right")
    for batch in batches:
        table.add_column(f"img/s @{batch}", justify="right")
    for row in rows:
        mark = "" if row["passed"] else " (over)"
        rates = [row["images_per_sec"][str(batch)] for batch in batches]
        firsts = [rows[0]["images_per_sec"][str(batch)] for batch in batches]
        table.add_row(row["name"], f"{row['p_at_1']:.4f}", f"{row['p_at_10']:.4f}", f"{row['lost_p_at_10']:+.4f}{mark}",
                      f"{row['overlap_at_10']:.4f}", f"{row['mean_cosine']:.5f}", f"{row['min_cosine']:.4f}",
                      f"{row['bytes'] / 1e6:.2f}",
                      *(f"{rate:,.0f} ({rate / first:.2f}x)" for rate, first in zip(rates, firsts, strict=True)),
                      )  # fmt: skip
    console = Console(width=130)
    console.print(table)
    for warning in dict.fromkeys(row["warning"] for row in rows if row["warning"]):
        console.print(f"warning: {warning}", highlight=False, soft_wrap=True)


def main() -> None:
    """Measure the files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="files or names of one model's exports, the fp32 one first")
    parser.add_argument("--backends", nargs="+", default=["cpu", "openvino"], choices=list(backends()))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32], metavar="N")
    parser.add_argument("--images", default=None, help="labelled pictures of the model's own domain")
    parser.add_argument("--gate-images", type=int, default=None, help="how many it is judged on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each batch size is measured")
    given = parser.parse_args()
    if min(*given.batches, given.threads, 1) < 1:
        parser.error("--batches and --threads must be at least 1")
    if given.gate_images is not None and given.gate_images < FEWEST:
        parser.error(f"--gate-images must be at least {FEWEST}")
    described = machine("onnxruntime", "openvino", "numpy")
    with mistakes_in_one_line():
        files = [find_model(each) for each in given.models]
        asked = Asked(batches=given.batches, threads=given.threads, budget_s=given.seconds, files=files,
                      backends=given.backends)  # fmt: skip
        rows = measure(files, asked, source=given.images, num_gate=given.gate_images)
    show(rows, given.batches)
    print(json.dumps({"machine": described, "threads": given.threads, "results": rows}))


if __name__ == "__main__":
    main()
