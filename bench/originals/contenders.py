"""Who embeds: a TensorFlow original on its own path, and its ONNX file in every precision that can be had here.

In: an original's name and weights, and images. Out: `Contender`s, each of which gives the vectors of those images when
it is asked, so that those of one need not wait in memory for those of another. TensorFlow lives in a process of its
own, since it is slow to start, keeps gigabytes, and fixes its threads once; only vectors, and the ONNX file that is
exported there, come back. Variants are made from the fp32 file into a folder that is given.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.labelled import FEWEST
from semblance.card import Metric, Precision, read_card
from semblance.errors import BackendError, RuntimeMissing, SemblanceError

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]

FP32: Precision = "fp32"
LOWER: tuple[Literal["int8", "bf16"], ...] = ("int8", "bf16")  # that a CPU computes in
PRECISIONS: tuple[Precision, ...] = (FP32, *LOWER)
_PARITY_IMAGES = 64  # of an export: all the others are compared here
_SMALL_INPUT = 64 * 64
_FEW_IMAGES = 500  # at most, that a variant of a large network is judged on when it is made; of a small one, all


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to embed, by name."""

    runtime: str  # "tensorflow", "onnx"; "pixels": no network at all
    precision: Precision
    backend: str  # of the engine; "" where it is none of it
    vectors: Callable[[], Vectors]  # [N, D] of all images


@dataclass(frozen=True, slots=True)
class Model:
    """What an original's contenders are made from."""

    name: str  # in models/
    weights: str | Path | None = None  # None: its own
    file: Path | None = None  # the fp32 ONNX file, where it is exported already
    int8: Path | None = None  # the same in int8, where there is one already


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a TensorFlow original's process has left behind."""

    name: str
    weights: str  # where they came from, in words
    metric: Metric  # that the original ranks by
    file: Path  # its ONNX file
    int8: Path | None
    original: Path  # its own vectors, an .npy file of [N, D]


# ------------------------------------------------------------------------------------------------------------------
# TensorFlow, in a process of its own


@contextmanager
def originals(threads: int) -> Iterator[Callable[[Model, Images, Path], Prepared]]:
    """A process that prepares models, one after another; it ends with the block."""
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(threads,)
    ) as pool:

        def prepare(model: Model, images: Images, folder: Path) -> Prepared:
            try:
                return pool.submit(_prepare, model, images, folder).result()
            except BrokenProcessPool as error:
                raise BackendError(
                    f"the process of TensorFlow's {model.name} ended; what it said is above, and where it said nothing "
                    "it was ended for the memory that it took"
                ) from error

        yield prepare


def _start(threads: int) -> None:
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _prepare(model: Model, images: Images, folder: Path) -> Prepared:
    """The original's own vectors of [N, H, W, C], and its ONNX file, in that folder."""
    import tensorflow as tf

    from export.write import export
    from models.weights import open_original, own_path

    opened = open_original(model.name, model.weights)
    original = opened.original
    file = model.file
    if file is None:
        file = folder / f"{model.name}.onnx"
        export(opened, file, num_images=_PARITY_IMAGES)
    spec = tf.TensorSpec([None, original.height, original.width, original.channels], tf.uint8)
    embed = tf.function(own_path(original, opened.network), input_signature=[spec])
    batch = 256 if opened.network.count_params() < 1_000_000 else 32
    path = folder / f"{model.name}.npy"
    kept = np.lib.format.open_memmap(path, "w+", np.float32, (len(images), read_card(file).dimension))  # [N, D]
    for start in range(0, len(images), batch):
        kept[start : start + batch] = embed(images[start : start + batch]).numpy()
    kept.flush()
    return Prepared(model.name, opened.source, original.metric, file, model.int8, path)


# ------------------------------------------------------------------------------------------------------------------
# The contenders of one original


def contenders_of(
    prepared: Prepared,
    images: Images,
    folder: Path,
    *,
    precisions: tuple[Precision, ...],
    threads: int,
    absent: Callable[[Precision, str], None],
) -> Iterator[Contender]:
    """The original first, then its file in those of `precisions` that can be had; `absent` is told why another cannot.

    A variant is made when it is its turn.
    """
    yield Contender("tensorflow", FP32, "", lambda: np.load(prepared.original, mmap_mode="r"))
    if FP32 in precisions:
        yield _by_file(prepared.file, "cpu", FP32, images, threads)
    for precision in LOWER:
        if precision not in precisions:
            continue
        try:
            num_gate = None if _is_small(prepared.file) else max(FEWEST, min(len(images), _FEW_IMAGES))
            file = _variant(prepared, precision, folder, num_gate=num_gate)
        except SemblanceError as error:
            absent(precision, str(error))
            continue
        yield _by_file(file, "openvino" if precision == "bf16" else "cpu", precision, images, threads)


def _by_file(file: Path, backend: str, precision: Precision, images: Images, threads: int) -> Contender:
    from semblance.inference.session import Session

    return Contender("onnx", precision, backend, lambda: Session(file, backend=backend, threads=threads).run(images))


def _variant(prepared: Prepared, precision: Literal["int8", "bf16"], folder: Path, *, num_gate: int | None) -> Path:
    """The file in that precision. Raises BackendError where it cannot be computed here or finds too little."""
    from export.variant import export_variant, require_bf16

    if precision == "int8" and prepared.int8 is not None:
        return prepared.int8
    if precision == "bf16":
        try:
            require_bf16()
        except RuntimeMissing as error:
            raise BackendError(f"bf16 is computed by OpenVINO, which is not here: {error}") from error
    exported = export_variant(prepared.file, folder / f"{prepared.name}.{precision}.onnx", precision, num_gate=num_gate)
    if not exported.is_written:
        raise BackendError(
            f"it does not pass the gate: it loses {exported.gate.lost_p_at_10:.4f} of the precision at 10, on "
            f"{exported.gate.images}"
        )
    return exported.path


def _is_small(file: Path) -> bool:
    """Whether a network is so small that thousands of images pass it in seconds."""
    card = read_card(file)
    return card.height * card.width <= _SMALL_INPUT and file.stat().st_size < 4_000_000
