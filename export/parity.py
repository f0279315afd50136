"""Whether an exported file answers as its original does, on the same real images.

In: an ONNX file, the original's own path, uint8 images. Out: the figures of the difference, or a ParityError that holds
all of them. An export is done when its numbers agree, not when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.neighbours import K, neighbour_overlap
from models.weights import Opened, own_path
from semblance.card import Metric
from semblance.errors import InputError, SemblanceError

THREADS = 2
_MIXED_SIZES = (1, 32, 7, 64, 2, 33)  # a file must not depend on how its images are grouped
_REFERENCE_BATCH = 32
_SMALL_NETWORK = 1_000_000  # parameters; above, sums are longer and rounding adds up
_FLOATS_AT_ONCE = 1 << 24


class ParityError(SemblanceError):
    """An exported graph that differs from its original by more than rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an exported file is from its original on `num_images` images."""

    images: str  # which images
    num_images: int
    max_unit_error: float  # largest difference of a coordinate, both vectors scaled to unit length
    max_relative_error: float  # largest difference of a coordinate of the vectors as they come, to the longest one
    min_cosine: float
    mean_cosine: float
    overlap_at_10: float  # mean share of the ten nearest that are the same

    def as_card(self) -> dict[str, float | int | str]:
        """The figures as the model card carries them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What an export may differ by; None: not judged."""

    max_unit_error: float | None
    max_relative_error: float | None
    min_cosine: float
    overlap_at_10: float


SMALL = Tolerance(max_unit_error=1e-5, max_relative_error=1e-5, min_cosine=0.99999, overlap_at_10=0.999)
LARGE = Tolerance(max_unit_error=None, max_relative_error=None, min_cosine=0.99999, overlap_at_10=0.999)


def tolerance_of(opened: Opened) -> Tolerance:
    """Strict on coordinates for networks below a million parameters; on angles and neighbours for all."""
    return SMALL if opened.network.count_params() < _SMALL_NETWORK else LARGE


def measure_parity(model: Path | bytes, opened: Opened, images: NDArray[np.uint8], *, described: str) -> Parity:
    """Embed `images` [N, H, W, C] by the file (path or bytes) and by the original, and compare.

    N is at least 2, since each image is compared with its neighbours; else InputError.
    """
    if len(images) < 2:
        raise InputError(f"parity needs at least 2 images, was given {len(images)}; {K + 1} or more are sensible")
    exported = run_file(model, images)  # [N, D]
    original = run_original(opened, images)  # [N, D]
    return compare(exported, original, metric=opened.original.metric, described=described)


def compare(exported: NDArray[np.float32], original: NDArray[np.float32], *, metric: Metric, described: str) -> Parity:
    """The figures for two matrices [N, D] of embeddings of the same N images, N >= 2, computed in float64.

    Raises ParityError where their shapes differ or a value is not finite.
    """
    if exported.shape != original.shape:
        raise ParityError(f"the file gives {list(exported.shape)}, the original {list(original.shape)}")
    if not (np.isfinite(exported).all() and np.isfinite(original).all()):
        raise ParityError("embeddings that are not finite: the weights are damaged, or the network overflows")
    unit_error, cosines, largest, longest = 0.0, [], 0.0, 0.0
    rows_at_once = max(1, _FLOATS_AT_ONCE // exported.shape[1])
    for start in range(0, len(exported), rows_at_once):
        ours, theirs = (each[start : start + rows_at_once].astype(np.float64) for each in (exported, original))
        unit_ours, unit_theirs = _unit(ours), _unit(theirs)
        unit_error = max(unit_error, float(np.abs(unit_ours - unit_theirs).max()))
        largest = max(largest, float(np.abs(ours - theirs).max()))
        longest = max(longest, float(np.linalg.norm(theirs, axis=1).max()))
        cosines.append(_cosine(unit_ours, unit_theirs))
    cosine = np.concatenate(cosines)  # [N]
    return Parity(
        images=described,
        num_images=len(exported),
        max_unit_error=unit_error,
        max_relative_error=largest / longest if longest else largest,
        min_cosine=float(cosine.min()),
        mean_cosine=float(cosine.mean()),
        overlap_at_10=neighbour_overlap(exported, original, metric=metric),
    )


def require(parity: Parity, tolerance: Tolerance, *, name: str) -> None:
    """Raise ParityError, with every figure in it, where one is outside the tolerance."""
    limits = asdict(tolerance)
    figures = {key: getattr(parity, key) for key in limits}
    outside = [
        f"{key} {figures[key]:.3g} (at {'least' if key in _HIGHER_IS_BETTER else 'most'} {limit:.6g})"
        for key, limit in limits.items()
        if limit is not None and not _is_inside(key, figures[key], limit)
    ]
    if outside:
        measured = ", ".join(f"{key} {value:.9g}" for key, value in figures.items())
        raise ParityError(
            f"{name}: the exported graph does not answer as its original: {'; '.join(outside)}. All figures on "
            f"{parity.num_images:,} images ({parity.images}): {measured}, mean_cosine {parity.mean_cosine:.9g}. "
            "Nothing was written"
        )


def run_file(model: Path | bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N, D] float32 by ONNX Runtime on the CPU, in batches of mixed sizes, the last one ragged."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["embedding"], {"image": batch})[0] for batch in _mixed_batches(images)])


def run_original(opened: Opened, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N, D] float32 by TensorFlow, the original's own path as one compiled function."""
    import tensorflow as tf

    original = opened.original
    spec = tf.TensorSpec([None, original.height, original.width, original.channels], tf.uint8)
    embed = tf.function(own_path(original, opened.network), input_signature=[spec])
    starts = range(0, len(images), _REFERENCE_BATCH)
    return np.concatenate([embed(images[start : start + _REFERENCE_BATCH]).numpy() for start in starts])


# ------------------------------------------------------------------------------------------------------------------

_HIGHER_IS_BETTER = ("min_cosine", "overlap_at_10")


def _is_inside(figure: str, value: float, limit: float) -> bool:
    return value >= limit if figure in _HIGHER_IS_BETTER else value <= limit


def _mixed_batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    start = turn = 0
    while start < len(images):
        size = _MIXED_SIZES[turn % len(_MIXED_SIZES)]
        yield images[start : start + size]
        start, turn = start + size, turn + 1


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _cosine(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of unit vectors, row by row; two zero vectors agree."""
    cosine = np.einsum("nd,nd->n", ours, theirs)  # [N]
    return np.where(~ours.any(axis=1) & ~theirs.any(axis=1), 1.0, np.minimum(cosine, 1.0))
