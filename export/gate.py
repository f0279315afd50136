"""Whether a variant finds what its fp32 file finds: measured by retrieval, on real labelled images.

In: the embeddings of the same images by both, and labels. Out: the figures, and whether the variant may be shipped.
Judged is what a user would notice, the share of neighbours of the same class; how many neighbours are the very same and
how far the vectors turned are measured and told beside it, since neighbours change before classes do. A gate is only as
good as its images: where fp32 itself finds hardly more than chance would, or where they are few, it says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.neighbours import K
from semblance import metrics
from semblance.card import Metric
from semblance.errors import InputError, SemblanceError
from semblance.gallery.exact import search_exact

MOST_LOST = 0.005  # of precision at 10
_FLOATS_AT_ONCE = 1 << 24  # in float64: 100,000 dimensions of thousands of images would be gigabytes more
_LEAST_FOUND = 10 * MOST_LOST  # beyond chance: else what may be lost is more than a tenth of what there is to lose

Vectors = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.str_]


class GateError(SemblanceError):
    """A variant that does not find what its fp32 file finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How far a variant is from its fp32 file on `num_images` labelled images, each a query among the others."""

    images: str  # which images
    num_images: int
    backend: str  # what computed the variant
    chance: float  # P@10 of neighbours drawn by lot: the mean share of the query's class among the others
    p_at_1_fp32: float  # share of nearest neighbours of the query's class
    p_at_1: float
    p_at_10_fp32: float  # the same of the ten nearest
    p_at_10: float
    lost_error: float  # the standard error over images of what was lost of P@10
    overlap_at_10: float  # mean share of the ten nearest that are the same images
    mean_cosine: float
    min_cosine: float

    @property
    def lost_p_at_10(self) -> float:
        """Negative where the variant finds more."""
        return self.p_at_10_fp32 - self.p_at_10

    @property
    def passed(self) -> bool:
        """Whether it lost no more than may be lost."""
        return self.lost_p_at_10 <= MOST_LOST

    @property
    def warning(self) -> str:
        """Why passing says little; "" where it says what it should."""
        found = max(0.0, self.p_at_10_fp32 - self.chance)
        if found < _LEAST_FOUND:
            return (
                f"fp32's own P@10, {self.p_at_10_fp32:.4f}, is hardly above chance, {self.chance:.4f}: noise in place "
                f"of the embeddings would lose {found:.4f}, so that passing proves little"
            )
        if 2 * self.lost_error > MOST_LOST:
            return (
                f"{self.num_images:,} images are too few to tell a loss of {MOST_LOST:g} from none: the standard error "
                f"is {self.lost_error:.4f}"
            )
        return ""

    def as_card(self, *, forced: bool) -> dict[str, float | int | str | bool]:
        """The figures as the model card carries them; `forced`: written although it did not pass."""
        figures: dict[str, float | int | str | bool] = {name: getattr(self, name) for name in self.__slots__}
        figures |= {"lost_p_at_10": self.lost_p_at_10, "passed": self.passed, "warning": self.warning}
        return {**figures, "forced": forced}


class Judge:
    """The gate of one model: knows its fp32 embeddings' neighbours, so that several variants can be measured."""

    def __init__(self, reference: Vectors, labels: Labels, *, metric: Metric, images: str) -> None:
        """`reference` [N, D] are the fp32 file's embeddings, `labels` [N].

        Raises GateError where they are not finite, InputError where no image's neighbours are of its class, since then
        nothing could be lost.
        """
        if not np.isfinite(reference).all():
            raise GateError("the fp32 file gives embeddings that are not finite; export the model again")
        self._reference, self._labels, self._metric, self._images = reference, labels, metric, images
        self._neighbours, self._precision = self._found(reference)
        self._chance = chance_of(labels)
        if not self._precision[K].any():
            raise InputError(
                f"{images}: no image has one of its class among its {K} nearest; give several of each class"
            )

    def measure(self, variant: Vectors, *, backend: str) -> Gate:
        """The figures for the embeddings [N, D] of the same images by a variant.

        Raises GateError where they have another shape or are not finite.
        """
        if variant.shape != self._reference.shape:
            raise GateError(f"the variant gives {list(variant.shape)}, the fp32 file {list(self._reference.shape)}")
        if not np.isfinite(variant).all():
            raise GateError("the variant gives embeddings that are not finite: numbers overflow in this precision")
        neighbours, precision = self._found(variant)
        cosine = cosines(variant, self._reference)  # [N]
        lost = self._precision[K] - precision[K]  # [N]
        return Gate(
            images=self._images,
            num_images=len(variant),
            backend=backend,
            chance=self._chance,
            p_at_1_fp32=float(self._precision[1].mean()),
            p_at_1=float(precision[1].mean()),
            p_at_10_fp32=float(self._precision[K].mean()),
            p_at_10=float(precision[K].mean()),
            lost_error=float(lost.std() / np.sqrt(len(lost))),
            overlap_at_10=float(metrics.neighbour_overlap(neighbours, self._neighbours).mean()),
            mean_cosine=float(cosine.mean()),
            min_cosine=float(cosine.min()),
        )

    def _found(self, vectors: Vectors) -> tuple[NDArray[np.int64], dict[int, Doubles]]:
        """The rows of each image's ten nearest others [N, 10], and each image's precision at 1 and 10 [N]."""
        own = np.arange(len(vectors))
        rows, _ = search_exact(vectors, vectors, k=K, metric=self._metric, exclude=own)
        relevant = metrics.relevance(self._labels[rows], self._labels)
        return rows, {k: metrics.precision_at_k(relevant, k) for k in (1, K)}


def chance_of(labels: Labels) -> float:
    """The share of an image's own class among all others, on average over `labels` [N], N >= 2."""
    _, counts = np.unique(labels, return_counts=True)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def cosines(ours: Vectors, theirs: Vectors) -> Doubles:
    """The cosine of each row of [N, D] with the same row of the other, float64 [N]; of two zero vectors 1."""
    at_once = max(1, _FLOATS_AT_ONCE // max(1, ours.shape[1]))
    parts = [slice(start, start + at_once) for start in range(0, len(ours), at_once)]
    return np.concatenate([np.empty(0), *(_cosines(ours[part], theirs[part]) for part in parts)])


def _cosines(ours: Vectors, theirs: Vectors) -> Doubles:
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)  # [N]
    cosine = np.divide(np.einsum("nd,nd->n", first, second), lengths, out=np.zeros(len(first)), where=lengths > 0)
    return np.where(~first.any(axis=1) & ~second.any(axis=1), 1.0, np.clip(cosine, -1.0, 1.0))
