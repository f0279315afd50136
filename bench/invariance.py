"""How far one image's embedding moves with the batch that it is in and its place there, by backend and precision.

    python -m bench.invariance siamese autoencoder siamese.int8
    python -m bench.invariance mobilenet.onnx mobilenet.int8.onnx --backends cpu openvino --largest 33

In: files or names of models, and backends. Out: for each the largest difference of a coordinate, of vectors of unit
length, between an image embedded alone and the same image in batches of every size at moving places; and at how many of
the sizes there is none at all. Real images where there are some, of the model's own kind. The last line on stdout is
one JSON document.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.gpu_check.invariance import differences_by_size
from export.labelled import open_domain
from semblance.card import read_card
from semblance.errors import BackendError
from semblance.inference.backends import names
from semblance.inference.models import find_model
from semblance.inference.session import Session


def measure(path: Path, backend: str, *, num: int, threads: int, images: str | None) -> dict[str, Any] | None:
    """The figures of one file on one backend; None where that backend does not run it."""
    card = read_card(path)
    try:
        session = Session(path, backend=backend, threads=threads, max_batch=num)
    except BackendError:
        return None
    found = differences_by_size(session, open_domain(card, images, num_gate=num).gate.images)
    worst = max(found, key=found.__getitem__)
    return {
        "model": card.name,
        "precision": card.precision,
        "backend": session.backend,
        "description": session.description,
        "largest_difference": found[worst],
        "at_size": worst,
        "sizes": len(found),
        "sizes_exact": sum(each == 0 for each in found.values()),
    }


def main() -> None:
    """Measure the files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="files or names")
    parser.add_argument("--backends", nargs="+", default=["cpu", "openvino"], choices=names()[1:])
    parser.add_argument("--largest", type=int, default=65, help="batch (default 65)")
    parser.add_argument("--images", default=None, help="labelled pictures of the model's own domain")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.largest < 22 or given.threads < 1:
        parser.error("--largest must be at least 22, --threads at least 1")
    described = machine("onnxruntime", "numpy")
    rows = []
    with mistakes_in_one_line():
        for name in given.models:
            for backend in given.backends:
                row = measure(find_model(name), backend, num=given.largest, threads=given.threads, images=given.images)
                rows += [row] if row else []
    table = Table("model", "precision", "backend", title=f"batches of 1 to {given.largest}, unit vectors")
    for heading in ("largest difference", "at size", "sizes that are exact"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row["model"], row["precision"], row["backend"], f"{row['largest_difference']:.2g}",
                      str(row["at_size"]), f"{row['sizes_exact']} of {row['sizes']}")  # fmt: skip
    Console(width=110).print(table)
    print(json.dumps({"machine": described, "threads": given.threads, "results": rows}))


if __name__ == "__main__":
    main()
