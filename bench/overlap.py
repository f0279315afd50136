"""Whether decoding, inference and writing really run at the same time: a gallery's build against its slowest stage.

    python -m bench.overlap mobilenet.onnx --images 1000
    python -m bench.overlap mobilenet.onnx --threads 1 --workers 1

Three contenders in turns, in one process, on the same JPEG files: decoding and resizing alone, by the build's own
workers; inference alone, on pictures that are decoded already; and the whole build of a gallery. The build can be no
faster than the slower of the two. Where both compute on the same processors it can be no faster than their times
together either, so that ceiling is printed beside it. All times are kept. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line, photographs
from semblance.container import available_threads
from semblance.gallery.build import build
from semblance.gallery.prepare import Picture, prepare
from semblance.inference.batches import in_batches, work_ahead
from semblance.inference.encoder import Encoder
from semblance.inputs.decode import single_threaded
from semblance.inputs.sources import FileSource


def measure(
    model: str, *, num_images: int, rounds: int, threads: int, streams: int | None, workers: int
) -> dict[str, Any]:
    """Images per second of each contender, by round, with `threads` inside the model and `workers` that decode."""
    encoder = Encoder.load(model, threads=threads, streams=streams)
    single_threaded()
    rates: dict[str, list[float]] = {"decode": [], "inference": [], "build": []}
    with tempfile.TemporaryDirectory() as scratch:
        source = FileSource(unpack_photographs(Path(scratch), num_images))
        for number in range(rounds):
            start = time.perf_counter()
            results = work_ahead(
                enumerate(source), lambda numbered: prepare(*numbered, encoder.card), workers=workers, chunk=8
            )
            pixels = [result.pixels for result in results if isinstance(result, Picture)]
            rates["decode"].append(len(source) / (time.perf_counter() - start))
            batches = [np.stack(batch) for batch in in_batches(pixels, encoder.max_batch)]
            start = time.perf_counter()
            for _ in work_ahead(batches, encoder.run, workers=encoder.streams, chunk=1):
                pass
            rates["inference"].append(len(pixels) / (time.perf_counter() - start))
            report = build(source, encoder, Path(scratch, f"gallery-{number}"), workers=workers)
            stream_seconds = report.seconds["total"] - report.seconds["index"]
            rates["build"].append(report.num_taken / stream_seconds)
    middle = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "model": encoder.card.name,
        "runs_on": encoder.description,
        "machine": f"{platform.machine()}, {available_threads()} processors",
        "num_images": len(pixels),
        "threads": threads,
        "streams": encoder.streams,
        "workers": workers,
        "images_per_sec": rates,
        "median_images_per_sec": middle,
        "build_to_slower_stage": middle["build"] / min(middle["decode"], middle["inference"]),
        "build_to_shared_processors": middle["build"] * (1 / middle["decode"] + 1 / middle["inference"]),
        "last_build": asdict(report),
    }


def unpack_photographs(folder: Path, count: int) -> list[Path]:
    """`count` JPEG files, spread over all classes, unpacked into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, encoded in enumerate(photographs(count)):
        (folder / f"{number:06d}.jpg").write_bytes(encoded)
    return sorted(folder.glob("*.jpg"))


def main() -> None:
    """Measure, print a table and one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model by name, or an ONNX file")
    parser.add_argument("--images", type=int, default=1000, help="photographs (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--threads", type=int, default=available_threads(), help="inside the model (default: all)")
    parser.add_argument("--workers", type=int, default=available_threads(), help="that decode (default: as many)")
    parser.add_argument("--streams", type=int, help="batches at a time (default: the command's)")
    given = parser.parse_args()
    with mistakes_in_one_line():
        result = measure(
            given.model,
            num_images=given.images,
            rounds=given.rounds,
            threads=given.threads,
            streams=given.streams,
            workers=given.workers,
        )
    table = Table(
        "contender",
        title=f"{result['model']}, {given.threads} threads in {result['streams']} streams, {given.workers} workers",
    )
    table.add_column("images/s, median", justify="right")
    for name, rate in result["median_images_per_sec"].items():
        table.add_row(name, f"{rate:,.1f}")
    table.add_row("build / slower stage", f"{result['build_to_slower_stage']:.3f}")
    table.add_row("build / both on these processors", f"{result['build_to_shared_processors']:.3f}")
    Console().print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
