"""How much faster an exported file embeds than its TensorFlow original, on the same threads in the same run.

    python -m bench.vs_tensorflow autoencoder siamese
    python -m bench.vs_tensorflow resnet101 --weights random --batches 1 32

Contenders: the original's own path as one compiled tf.function, with one and with two inter-op threads (the faster one
counts), and ONNX Runtime on the graph that `python -m export` writes. Each lives in a process of its own, since
TensorFlow fixes its threads once; the processes take turns, so that whatever else the machine does meets all of them. A
call takes uint8 images as a numpy array and ends with the embeddings as one. All times are kept. The last line on
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line

Images = NDArray[np.uint8]
Embed = Callable[[Images], NDArray[np.float32]]

_ROUND_S = 0.05  # of one contender's turn, so that a neighbour's burst cannot fall upon one of them alone
PACKAGES = ("tensorflow", "keras", "onnxruntime", "tf2onnx", "onnx", "numpy")
_MIN_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Contender:
    """How a process is to embed."""

    name: str
    model: str
    weights: str | None
    threads: int
    inter_threads: int
    file: Path | None  # None: the original itself


# ------------------------------------------------------------------------------------------------------------------
# Inside a contender's process


def serve(connection: Connection, contender: Contender) -> None:
    """Answer (images, num_calls) with (seconds of each call, the embeddings), until None comes."""
    embed = _exported(contender) if contender.file else _original(contender)
    connection.send("ready")
    while (request := connection.recv()) is not None:
        images, num_calls = request
        seconds = []
        for _ in range(num_calls):
            start = time.perf_counter()
            embeddings = embed(images)
            seconds.append(time.perf_counter() - start)
        connection.send((seconds, embeddings))


def _original(contender: Contender) -> Embed:
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    import tensorflow as tf

    from models.weights import open_original, own_path

    tf.config.threading.set_intra_op_parallelism_threads(contender.threads)
    tf.config.threading.set_inter_op_parallelism_threads(contender.inter_threads)
    opened = open_original(contender.model, contender.weights)
    shape = [None, opened.original.height, opened.original.width, opened.original.channels]
    embed = tf.function(own_path(opened.original, opened.network), input_signature=[tf.TensorSpec(shape, tf.uint8)])
    return lambda images: embed(images).numpy()


def _exported(contender: Contender) -> Embed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = contender.threads, contender.inter_threads
    session = onnxruntime.InferenceSession(str(contender.file), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["embedding"], {"image": images})[0]


# ------------------------------------------------------------------------------------------------------------------
# The run


@contextmanager
def started(contenders: list[Contender]) -> Iterator[dict[str, Connection]]:
    """A process for each contender, ready to be asked; they end with the block."""
    context = multiprocessing.get_context("spawn")
    connections, processes = {}, []
    for contender in contenders:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, contender), daemon=True)
        process.start()
        theirs.close()
        connections[contender.name] = ours
        processes.append(process)
    try:
        for connection in connections.values():
            connection.recv()
        yield connections
    finally:
        for connection, process in zip(connections.values(), processes, strict=True):
            if process.is_alive():
                connection.send(None)
            process.join(timeout=10)


def race(connections: dict[str, Connection], images: Images, *, budget_s: float) -> dict[str, Any]:
    """Seconds of each call by contender, measured in turns, and how far their embeddings are apart."""
    seconds: dict[str, list[float]] = {name: [] for name in connections}
    calls, embeddings = {}, {}
    for name, connection in connections.items():  # warm-up: the first call at a shape builds it, the second is timed
        _ask(connection, images, 2)
        once, embeddings[name] = _ask(connection, images, 1)
        calls[name] = max(1, round(_ROUND_S / once[0]))
        _ask(connection, images, calls[name])
    slowest = max(calls[name] * _median(_ask(connection, images, 1)[0]) for name, connection in connections.items())
    for _ in range(max(_MIN_ROUNDS, round(budget_s / slowest / len(connections)))):
        for name, connection in connections.items():
            seconds[name] += _ask(connection, images, calls[name])[0]
    first = embeddings.pop(next(iter(embeddings)))
    apart = np.max([np.abs(first - other).max() for other in embeddings.values()])  # max() would lose a NaN
    return {"seconds": seconds, "max_difference": float(apart)}


def measure(model: str, weights: str | None, batches: list[int], threads: int, budget_s: float) -> list[dict[str, Any]]:
    """One row of results for each batch size."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process that ends: the conversion of a large network leaves gigabytes behind, which the race needs
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as converter:
            file, images = converter.submit(_graph_and_images, model, weights, Path(folder), max(batches)).result()
        contenders = [
            Contender(f"tensorflow, {inter} inter-op", model, weights, threads, inter, None) for inter in (1, 2)
        ]
        contenders.append(Contender("onnxruntime", model, weights, threads, 1, file))
        with started(contenders) as connections:
            return [
                _row(model, batch, race(connections, images[:batch], budget_s=budget_s), images.shape[1:])
                for batch in batches
            ]


def _graph_and_images(model: str, weights: str | None, folder: Path, count: int) -> tuple[Path, Images]:
    import onnx

    from export.graph import build_graph
    from export.images import parity_images
    from export.quiet import import_tensorflow_quietly
    from models.weights import open_original

    import_tensorflow_quietly()
    opened = open_original(model, weights)
    onnx.save(build_graph(opened), folder / "model.onnx")
    images = parity_images(opened.original, count).images
    return folder / "model.onnx", np.concatenate([images] * -(-count // len(images)))[:count]


def _row(model: str, batch: int, raced: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    medians = {name: _median(seconds) for name, seconds in raced["seconds"].items()}
    fastest = min((name for name in medians if name != "onnxruntime"), key=medians.__getitem__)
    return {
        "model": model,
        "batch": batch,
        "image": "x".join(map(str, shape)),
        "tensorflow_fastest": fastest,
        "ratio": medians[fastest] / medians["onnxruntime"],
        "max_difference": raced["max_difference"],
        "contenders": {
            name: {
                "median_ms": medians[name] * 1e3,
                "p95_ms": float(np.percentile(seconds, 95)) * 1e3,
                "images_per_sec": batch / medians[name],
                "num_calls": len(seconds),
                "calls_ms": [round(each * 1e3, 5) for each in seconds],
            }
            for name, seconds in raced["seconds"].items()
        },
    }


def _ask(connection: Connection, images: Images, num_calls: int) -> tuple[list[float], NDArray[np.float32]]:
    connection.send((images, num_calls))
    answer: tuple[list[float], NDArray[np.float32]] = connection.recv()
    return answer


def _median(values: list[float]) -> float:
    return float(np.median(values))


# ------------------------------------------------------------------------------------------------------------------
# What is printed


def show(rows: list[dict[str, Any]], threads: int) -> None:
    """The table for people; a star marks TensorFlow's faster setting, which the ratio is taken to."""
    table = Table(title=f"{threads} intra-op threads each, calls in turns")
    for heading in ("model", "batch", "contender", "median ms", "p95 ms", "images/s", "ratio"):
        table.add_column(heading, justify="left" if heading in ("model", "contender") else "right", no_wrap=True)
    for row in rows:
        for name, figures in row["contenders"].items():
            mark = " *" if name == row["tensorflow_fastest"] else ""
            ratio = f"{row['ratio']:.2f}" if name == "onnxruntime" else ""
            timed = (f"{figures['median_ms']:.3f}", f"{figures['p95_ms']:.3f}", f"{figures['images_per_sec']:,.0f}")
            table.add_row(row["model"], str(row["batch"]), name + mark, *timed, ratio)
        table.add_section()
    Console(width=110).print(table)


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.vs_tensorflow", description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="originals of models/")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32, 256], metavar="N")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default=None, help="random, imagenet or a file; default: the original's own")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each batch size is measured")
    options = parser.parse_args()
    if min(*options.batches, options.threads, 1) < 1:
        parser.error("--batches and --threads must be at least 1")
    from models.base import find  # here and not above: contenders import this file as well

    described = machine(*PACKAGES)  # before the measurement, whose own load it must not show
    rows = []
    with mistakes_in_one_line():
        for model in options.models:
            find(model)  # a wrong name is told before any work
        for model in options.models:
            rows += measure(model, options.weights, options.batches, options.threads, options.seconds)
    show(rows, options.threads)
    print(json.dumps({"machine": described, "threads": options.threads, "results": rows}))


if __name__ == "__main__":
    main()
