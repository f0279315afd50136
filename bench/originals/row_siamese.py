"""Row 2, the Siamese base: trained with triplets as published, by three seeds, and the `siamese` that is shipped.

The published files hold an untrained network, so that the published recipe is trained here, into the cache: minutes
for each seed, and only when asked to. The published protocol asks 100 random images of the first 2,000 test images,
which ones is not known; 100 drawn anew differ by some hundredths, so that all 2,000 ask as well, and all 10,000. Beside
the published figures stand means over the seeds and how far these lie apart.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.originals.asked import Asked, Emit, absent_record, leave_out
from bench.originals.comparing import Protocol, Subject
from bench.originals.contenders import FP32, Model, Prepared, originals
from bench.originals.published import of_row
from bench.originals.reproduced import beside, figure, is_engines
from bench.originals.side_by_side import side_by_side
from bench.records import Record
from semblance.errors import BackendError
from semblance.home import home
from semblance.inference.models import zoo_folder
from semblance.inputs.datasets import CLASSES, fashion_mnist

ROW = 2
SEEDS = (0, 1, 2)
_PUBLISHED = "siamese-published"
_HUNDRED = "100 random queries"
_GALLERY = 2000
_TRAIN = "python -m bench.originals --rows 2 --train"


def weights_of(seed: int) -> Path:
    """Where the weights of a seed are kept, there or not."""
    return home() / "originals" / f"{_PUBLISHED}.seed{seed}.weights.h5"


def train(seed: int) -> None:
    """Train the published recipe into `weights_of(seed)`, in a process of its own. Raises BackendError if it fails."""
    path = weights_of(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"training.seed{seed}.weights.h5")  # so that what is stopped leaves no half of a file
    command = [
        sys.executable, "-m", "models.train", "siamese", "--loss", "triplet", "--seed", str(seed), "--out", str(aside),
    ]  # fmt: skip
    if (ended := subprocess.run(command, stdout=sys.stderr)).returncode:
        raise BackendError(f"training seed {seed} ended with status {ended.returncode}; what it said is above")
    aside.with_name(f"training.seed{seed}.loss.png").replace(path.with_name(f"{_PUBLISHED}.seed{seed}.loss.png"))
    aside.replace(path)


def protocols(num_images: int, *, seed: int = 0) -> tuple[Protocol, ...]:
    """The published one, with queries of our own drawing, and all of the same gallery, and all images."""
    first, every = f"Fashion-MNIST, the first {_GALLERY:,} test images", "Fashion-MNIST, the 10,000 test images"
    drawn = np.sort(np.random.default_rng(seed).choice(_GALLERY, 100, replace=False)).astype(np.int64)
    return (
        Protocol(_HUNDRED, first, _GALLERY, drawn),
        Protocol(f"leave-one-out, first {_GALLERY:,}", first, _GALLERY, np.arange(_GALLERY)),
        Protocol.leave_one_out(every, num_images),
    )


def measure(asked: Asked, emit: Emit) -> None:
    """Emit row 2."""
    images, labels = fashion_mnist("test")
    seeds = [seed for seed in SEEDS if _is_there(seed, asked)]
    answers: list[Record] = []  # the engine's in the published protocol, by seed

    def keep(record: Record) -> None:
        emit(record)
        if is_engines(record, _PUBLISHED, _HUNDRED):
            answers.append(record)

    def run(model: Model) -> None:
        def subject_of(prepared: Prepared) -> Subject:
            return _subject(prepared, labels, asked)

        precisions = asked.precisions_of(is_main=model.name != _PUBLISHED)  # whose variant is shipped, not made first
        side_by_side(model, images[..., None], subject_of, asked, keep, prepare=prepare, precisions=precisions)

    with originals(asked.threads) as prepare:
        for seed in seeds[:1] if asked.quick else seeds:
            run(Model(_PUBLISHED, weights_of(seed)))
        run(Model("siamese", file=zoo_folder() / "siamese.onnx", int8=zoo_folder() / "siamese.int8.onnx"))
    for seed in sorted(set(SEEDS) - set(seeds)):
        reason = f"its weights are not in the cache; {_TRAIN} trains them, which takes minutes"
        emit(absent_record(ROW, f"{_PUBLISHED}, seed {seed}", FP32, reason))
    if answers:
        for record in _beside(answers):
            emit(record)
    else:
        leave_out(emit, ROW, _PUBLISHED, f"its weights are not in the cache; {_TRAIN} trains them")


def _is_there(seed: int, asked: Asked) -> bool:
    """Whether a seed's weights are there, trained now if they are to be."""
    if asked.train and not weights_of(seed).is_file():
        train(seed)
    return weights_of(seed).is_file()


def _beside(answers: list[Record]) -> list[Record]:
    """The published figures beside the means over the seeds, with their spread in the note."""
    records = []
    for published in of_row(ROW):
        found = [value for value in (figure(answer, published.figure) for answer in answers) if value is not None]
        seeds = f"mean of {len(found)} seeds, {min(found):.4f} to {max(found):.4f}" if len(found) > 1 else "one seed"
        note = f"trained here, since the published file is untrained; {seeds}; other random queries"
        (record,) = beside([published], lambda _, found=found: float(np.mean(found)))
        records.append(record | {"note": note})  # also of one that is equal, which is chance
    return records


def _subject(prepared: Prepared, labels: NDArray[np.uint8], asked: Asked) -> Subject:
    own = prepared.metric
    other = "cos" if own == "l2sq" else "l2sq"
    return Subject(
        row=ROW,
        original=prepared.name,
        weights=prepared.weights,
        labels=labels,
        protocols=protocols(len(labels)),
        metrics=(own,) if asked.quick else (own, other),
        searches=asked.searches,
        ranked_whole=asked.ranked_whole,
        classes=CLASSES,
        threads=asked.threads,
    )
