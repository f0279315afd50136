"""Whether an image's embedding depends on what it was embedded with: batch, place in it, graphs, other callers.

In: a model, images, a backend. Out: checks, each with the largest difference of a coordinate of unit vectors. A device
may pick another kernel for another batch size, which sums in another order: exact equality is told where it is found,
and not asked for.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.gpu_check.checks import Check
from bench.gpu_check.engine import open_engine
from bench.gpu_check.setting import Precision
from semblance.inference.session import Session

# A coordinate of unit length may differ by this much: fp32 as in export.parity; the others round operands to 10 bits,
# and another order of sums can round another way
TOLERANCES: dict[Precision, float] = {"fp32": 1e-5, "tf32": 2e-3, "fp16": 2e-3}

_NUM_THREADS = 8
_NUM_TURNS = 25  # of each thread

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]


def check_batches(path: Path, name: str, precision: Precision, images: Images, *, backend: str) -> Check:
    """Every batch size from 1 to the largest, each of other images at other places, against each image alone."""
    session = _session(path, precision, backend)
    images = images[: session.max_batch]
    by_size = differences_by_size(session, images)
    worst = max(by_size, key=by_size.__getitem__)
    return _check("same in every batch", name, precision, by_size[worst],
                  f"batch sizes 1 to {len(images)}, the largest difference at {worst}",
                  {"num_sizes": len(by_size), "worst_size": worst,
                   "num_sizes_exact": sum(each == 0 for each in by_size.values())})  # fmt: skip


def differences_by_size(session: Session, images: Images) -> dict[int, float]:
    """For each batch size of 1 to N of `images` [N, H, W, C] the largest difference to each image alone."""
    alone = np.concatenate([session.run(image[None]) for image in images])  # [N, D]
    found = {}
    for size in range(1, len(images) + 1):
        rows = (np.arange(size) + 7 * size) % len(images)
        found[size] = largest_difference(session.run(images[rows]), alone[rows])
    return found


def check_places(path: Path, name: str, precision: Precision, images: Images, *, backend: str) -> Check:
    """One image at every place of the largest batch, and in every bucket, against itself alone."""
    session = _session(path, precision, backend)
    images = images[: session.max_batch]
    alone = session.run(images[:1])
    found = [session.run(np.roll(images, place, axis=0))[place] for place in range(len(images))]
    found += [session.run(images[:bucket])[0] for bucket in session.buckets if bucket <= len(images)]
    difference = largest_difference(np.stack(found), np.repeat(alone, len(found), axis=0))
    return _check("same at every place", name, precision, difference,
                  f"{len(images)} places of the largest batch and the first of each bucket", {})  # fmt: skip


def check_graphs(path: Path, name: str, precision: Precision, images: Images, *, backend: str) -> Check:
    """With CUDA graphs and without them, at every bucket, three times: early runs record, later ones replay."""
    session, without = (_session(path, precision, backend, graphs=graphs) for graphs in (True, False))
    difference = 0.0
    for _ in range(3):
        for bucket in session.buckets:
            some = np.resize(images, (bucket, *images.shape[1:]))
            difference = max(difference, largest_difference(session.run(some), without.run(some)))
    return _check("same with CUDA graphs as without", name, precision, difference,
                  f"buckets {', '.join(map(str, session.buckets))}, recorded and replayed", {})  # fmt: skip


def check_callers(path: Path, name: str, precision: Precision, images: Images, *, backend: str) -> Check:
    """Many threads on one session, all with other images at batch sizes of their own: each gets its own vectors."""
    session = _session(path, precision, backend)
    images = images[: session.max_batch]
    alone = np.concatenate([session.run(image[None]) for image in images])  # [N, D]
    start = threading.Barrier(_NUM_THREADS)

    def call(number: int) -> float:
        rng = np.random.default_rng(number)
        start.wait()
        worst = 0.0
        for _ in range(_NUM_TURNS):
            rows = rng.integers(0, len(images), rng.integers(1, len(images) + 1))
            worst = max(worst, largest_difference(session.run(images[rows]), alone[rows]))
        return worst

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        difference = max(pool.map(call, range(_NUM_THREADS)))
    return _check("each caller gets its own", name, precision, difference,
                  f"{_NUM_THREADS} threads, {_NUM_TURNS} batches each", {})  # fmt: skip


def largest_difference(ours: Vectors, theirs: Vectors) -> float:
    """Of a coordinate, between rows of unit length; infinite where one is not finite."""
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    return float(np.abs(_unit(ours) - _unit(theirs)).max(initial=0.0))


def _unit(vectors: Vectors) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0)
    return unit


def _session(path: Path, precision: Precision, backend: str, *, graphs: bool = True) -> Session:
    return open_engine(path, backend, tf32=precision == "tf32", graphs=graphs)


def _check(
    what: str, name: str, precision: Precision, difference: float, covered: str, figures: dict[str, object]
) -> Check:
    bound = TOLERANCES[precision]
    said = "exactly equal" if difference == 0 else f"unit vectors differ by at most {difference:.2g}"
    return Check(
        name=what,
        subject=name,
        precision=precision,
        passed=difference <= bound,
        said=f"{said} (at most {bound:g}); {covered}",
        figures={
            "max_unit_difference": difference if np.isfinite(difference) else None,
            "is_exact": difference == 0,
            **figures,
        },
    )
