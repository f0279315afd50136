"""How much faster exported files embed than their TensorFlow original, on the same threads in the same run.

    python -m bench.vs_tensorflow autoencoder siamese
    python -m bench.vs_tensorflow resnet101 --weights random --batches 1 32
    python -m bench.vs_tensorflow mobilenet --alpha 0.75 --weights FILE.h5 --backends cpu openvino --ceiling \
        --files mobilenet.onnx mobilenet.bf16.onnx mobilenet.int8.onnx

Contenders: the original's own path as one compiled tf.function, with one and with two inter-op threads (the faster one
counts), and each file on each of the backends that compute in its precision; without --files the fp32 file that
`python -m export` writes. --ceiling adds the largest product of bytes that ONNX Runtime reaches, which says how much of
the processor an int8 file uses. Each lives in a process of its own, since TensorFlow fixes its threads once; the
processes take turns, so that whatever else the machine does meets all of them. A call takes uint8 images as a numpy
array and ends with the embeddings as one. All times are kept. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.operations import operations_of
from semblance.card import read_card
from semblance.errors import BackendError, InputError
from semblance.inference.backends import names as backend_names
from semblance.inference.backends.providers import PROVIDERS

Images = NDArray[np.uint8]
Embed = Callable[[Images], NDArray[np.float32]]

_ROUND_S = 0.05  # of one contender's turn, so that a neighbour's burst cannot fall upon one of them alone
_PARITY_IMAGES = 64  # of an export that only serves to be timed
PRODUCT, PRODUCT_SIDE = "u8 x s8 product", 2048
PACKAGES = ("tensorflow", "keras", "onnxruntime", "tf2onnx", "onnx", "numpy")
_MIN_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Contender:
    """How a process is to embed."""

    name: str
    threads: int
    model: str = ""
    weights: str | None = None
    alpha: float | None = None
    inter_threads: int = 1
    file: Path | None = None  # None: the original itself
    backend: str = "cpu"
    max_batch: int = 1
    is_product: bool = False  # embeds nothing: multiplies bytes


# ------------------------------------------------------------------------------------------------------------------
# Inside a contender's process


def serve(connection: Connection, contender: Contender) -> None:
    """Answer (images, num_calls) with (seconds of each call, the embeddings), until None comes."""
    make = _product if contender.is_product else _exported if contender.file else _original
    embed = make(contender)
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
    opened = open_original(_found(contender.model, contender.alpha), contender.weights)
    shape = [None, opened.original.height, opened.original.width, opened.original.channels]
    embed = tf.function(own_path(opened.original, opened.network), input_signature=[tf.TensorSpec(shape, tf.uint8)])
    return lambda images: embed(images).numpy()


def _exported(contender: Contender) -> Embed:
    from semblance.inference.session import Session

    assert contender.file is not None
    session = Session(
        contender.file, backend=contender.backend, threads=contender.threads, max_batch=contender.max_batch
    )
    return session.run


def _product(contender: Contender) -> Embed:
    """u8 x s8 products as large as the caches like them: [2048, 2048] x [2048, 2048]."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.uint8)
    b = rng.integers(-128, 128, (PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, a.shape)],
        [helper.make_tensor_value_info("c", TensorProto.INT32, a.shape)], [numpy_helper.from_array(b, "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = contender.threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def multiply(images: Images) -> NDArray[np.float32]:
        session.run(None, {"a": a})
        return np.empty((0, 0), np.float32)

    return multiply


def _found(model: str, alpha: float | None) -> Any:
    from models.base import find

    return find(model) if alpha is None else find(model, alpha=alpha)


# ------------------------------------------------------------------------------------------------------------------
# The run


@contextmanager
def started(contenders: list[Contender]) -> Iterator[dict[str, Connection]]:
    """A process for each contender, ready to be asked; they end with the block.

    Raises BackendError where one ends before it is ready: why, it has said on stderr itself.
    """
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
        for name, connection in connections.items():
            try:
                connection.recv()
            except EOFError as error:
                raise BackendError(f"the process of {name!r} could not start; what it said is above") from error
        yield connections
    finally:
        for connection, process in zip(connections.values(), processes, strict=True):
            with suppress(OSError):  # it has ended already
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
    first = next(iter(embeddings.values()))
    return {"seconds": seconds, "apart": {name: _apart(each, first) for name, each in embeddings.items() if each.size}}


def _apart(found: NDArray[np.float32], original: NDArray[np.float32]) -> dict[str, float]:
    """How far embeddings [N, D] are from the original's."""
    from export.gate import cosines  # here, so that a contender's process does without it

    return {
        "max_difference": float(np.abs(found.astype(np.float64) - original).max()),
        "mean_cosine": float(cosines(found, original).mean()),
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    weights: str | None
    alpha: float | None
    batches: list[int]
    threads: int
    budget_s: float
    files: list[Path]
    backends: list[str]
    ceiling: bool


def measure(model: str, asked: Asked) -> list[dict[str, Any]]:
    """One row of results for each batch size."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process that ends: the conversion of a large network leaves gigabytes behind, which the race needs
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as converter:
            made = converter.submit(_files_and_images, model, asked, Path(folder)).result()
        files, images, operations = made
        contenders = [
            Contender(
                f"tensorflow, {inter} inter-op", asked.threads, model, asked.weights, asked.alpha, inter_threads=inter
            )
            for inter in (1, 2)
        ]
        contenders += of_files(files, asked)
        if asked.ceiling:
            contenders.append(Contender(PRODUCT, asked.threads, is_product=True))
        with started(contenders) as connections:
            return [
                _row(model, batch, race(connections, images[:batch], budget_s=asked.budget_s), images.shape[1:])
                | {"operations_per_image": operations}
                for batch in asked.batches
            ]


def of_files(files: list[Path], asked: Asked) -> list[Contender]:
    """A contender for each file on each backend that computes in its precision.

    fp16 is none of a CPU's: ONNX Runtime computes it as fp32, after turning it over, and OpenVINO as fp32 too, which
    the contender's name says. Raises InputError for a file that no backend takes, and for two files of one precision.
    """
    found: list[Contender] = []
    for file in files:
        precision = read_card(file).precision
        of_file = [
            Contender(
                f"{backend} {precision}" + (" as fp32" if precision == "fp16" and backend == "openvino" else ""),
                asked.threads, file=file, backend=backend, max_batch=max(asked.batches),
            )
            for backend in asked.backends
            if (precision in PROVIDERS[backend].precisions if backend in PROVIDERS else True)
            and not (backend == "cpu" and precision == "fp16")
        ]  # fmt: skip
        if not of_file:
            backends = ", ".join(asked.backends)
            raise InputError(f"{file} is {precision}, which none of the backends {backends} computes in; leave it out")
        if {each.name for each in of_file} & {each.name for each in found}:
            raise InputError(f"{file} is {precision}, and so is another file; give one of each precision")
        found += of_file
    return found


def _files_and_images(model: str, asked: Asked, folder: Path) -> tuple[list[Path], Images, int]:
    """The files to compare, images for the largest batch, and the multiplications and additions of one image."""
    from export.images import parity_images
    from export.quiet import import_tensorflow_quietly

    files, original = asked.files, _found(model, asked.alpha)
    if not files:
        import_tensorflow_quietly()
        from export.write import export
        from models.weights import open_original

        opened = open_original(original, asked.weights)
        files, original = [folder / f"{model}.onnx"], opened.original
        export(opened, files[0], num_images=_PARITY_IMAGES)
    images = parity_images(original, max(asked.batches)).images
    images = np.concatenate([images] * -(-max(asked.batches) // len(images)))[: max(asked.batches)]
    return files, images, operations_of(files[0])


def _row(model: str, batch: int, raced: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    medians = {name: _median(seconds) for name, seconds in raced["seconds"].items()}
    fastest = min((name for name in medians if name.startswith("tensorflow")), key=medians.__getitem__)
    return {
        "model": model,
        "batch": batch,
        "image": "x".join(map(str, shape)),
        "tensorflow_fastest": fastest,
        "contenders": {
            name: {
                "median_ms": medians[name] * 1e3,
                "p95_ms": float(np.percentile(seconds, 95)) * 1e3,
                "images_per_sec": batch / medians[name] if name != PRODUCT else None,
                "operations_per_sec": 2 * PRODUCT_SIDE**3 / medians[name] if name == PRODUCT else None,
                "times_tensorflow": medians[fastest] / medians[name] if name != PRODUCT else None,
                **raced["apart"].get(name, {}),
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
    for heading in ("model", "batch", "contender", "median ms", "p95 ms", "images/s", "ratio", "cosine", "of ceiling"):
        table.add_column(heading, justify="left" if heading in ("model", "contender") else "right", no_wrap=True)
    for row in rows:
        ceiling = row["contenders"].get(PRODUCT, {}).get("operations_per_sec")
        for name, figures in row["contenders"].items():
            mark = " *" if name == row["tensorflow_fastest"] else ""
            timed = [f"{figures['median_ms']:.3f}", f"{figures['p95_ms']:.3f}"]
            if name == PRODUCT:
                table.add_row(row["model"], str(row["batch"]), name, *timed, f"{ceiling / 1e9:,.0f} GOP/s", "", "", "")
                continue
            share = figures["images_per_sec"] * row["operations_per_image"] / ceiling if ceiling else 0
            told = f"{share:.0%}" if ceiling and name.endswith("int8") else ""
            table.add_row(row["model"], str(row["batch"]), name + mark, *timed, f"{figures['images_per_sec']:,.0f}",
                          f"{figures['times_tensorflow']:.2f}", f"{figures['mean_cosine']:.6f}", told)  # fmt: skip
        table.add_section()
    Console(width=120).print(table)


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.vs_tensorflow", description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="originals of models/")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32, 256], metavar="N")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default=None, help="random, imagenet or a file; default: the original's own")
    parser.add_argument("--alpha", type=float, default=None, help="MobileNet's width")
    parser.add_argument("--files", nargs="+", type=Path, default=[], metavar="FILE.onnx", help="exports of one MODEL")
    parser.add_argument(
        "--backends", nargs="+", default=["cpu"], choices=backend_names()[1:], help="that run the files"
    )
    parser.add_argument("--ceiling", action="store_true", help="measure the fastest product of bytes as well")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each batch size is measured")
    options = parser.parse_args()
    if min(*options.batches, options.threads, 1) < 1:
        parser.error("--batches and --threads must be at least 1")
    if options.files and len(options.models) > 1:
        parser.error("--files are exports of one MODEL")
    described = machine(*PACKAGES)  # before the measurement, whose own load it must not show
    asked = Asked(options.weights, options.alpha, options.batches, options.threads, options.seconds, options.files,
                  options.backends, options.ceiling)  # fmt: skip
    rows = []
    with mistakes_in_one_line():
        for model in options.models:
            _found(model, options.alpha)  # a wrong name is told before any work
        for file in options.files:
            read_card(file)
        for model in options.models:
            rows += measure(model, asked)
    show(rows, options.threads)
    print(json.dumps({"machine": described, "threads": options.threads, "results": rows}))


if __name__ == "__main__":
    main()
