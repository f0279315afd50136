"""Whether a variant finds what its fp32 file finds: measured by retrieval, on real labelled images.

In: the embeddings of the same images by both, and labels. Out: the figures, and whether the variant may be shipped.
Judged is what a user would notice, the share of neighbours of the same class; how many neighbours are the very same and
how far the vectors turned are measured and told beside it, since neighbours change before classes do.
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

Vectors = NDArray[np.float32]
Labels = NDArray[np.str_]


class GateError(SemblanceError):
    """A variant that does not find what its fp32 file finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How far a variant is from its fp32 file on `num_images` labelled images, each a query among the others."""

    images: str  # which images
    num_images: int
    backend: str  # what computed the variant
    p_at_1_fp32: float  # share of nearest neighbours of the query's class
    p_at_1: float
    p_at_10_fp32: float  # the same of the ten nearest
    p_at_10: float
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

    def as_card(self, *, forced: bool) -> dict[str, float | int | str | bool]:
        """The figures as the model card carries them; `forced`: written although it did not pass."""
        figures: dict[str, float | int | str | bool] = {name: getattr(self, name) for name in self.__slots__}
        return {**figures, "lost_p_at_10": self.lost_p_at_10, "passed": self.passed, "forced": forced}


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
        if self._precision[K] == 0:
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
        return Gate(
            images=self._images,
            num_images=len(variant),
            backend=backend,
            p_at_1_fp32=self._precision[1],
            p_at_1=precision[1],
            p_at_10_fp32=self._precision[K],
            p_at_10=precision[K],
            overlap_at_10=float(metrics.neighbour_overlap(neighbours, self._neighbours).mean()),
            mean_cosine=float(cosine.mean()),
            min_cosine=float(cosine.min()),
        )

    def _found(self, vectors: Vectors) -> tuple[NDArray[np.int64], dict[int, float]]:
        """The rows of each image's ten nearest others [N, 10], and precision at 1 and 10."""
        own = np.arange(len(vectors))
        rows, _ = search_exact(vectors, vectors, k=K, metric=self._metric, exclude=own)
        relevant = metrics.relevance(self._labels[rows], self._labels)
        return rows, {k: float(metrics.precision_at_k(relevant, k).mean()) for k in (1, K)}


def cosines(ours: Vectors, theirs: Vectors) -> NDArray[np.float64]:
    """The cosine of each row of [N, D] with the same row of the other, float64 [N]; of two zero vectors 1."""
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)  # [N]
    cosine = np.divide(np.einsum("nd,nd->n", first, second), lengths, out=np.zeros(len(first)), where=lengths > 0)
    return np.where(~first.any(axis=1) & ~second.any(axis=1), 1.0, np.clip(cosine, -1.0, 1.0))
