"""What a batcher has done so far, counted: images by how they ended, batches by size, seconds by stage.

In: every image when its place becomes free, every batch when it was run. Out: a snapshot whose figures add up, or each
report by itself, for whoever keeps histograms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Outcome = Literal[
    "embedded",
    "bad_image",  # it could not be decoded
    "failed",  # its batch could not be run
    "expired",  # its deadline passed
    "cancelled",  # its caller left
    "closed",  # the batcher stopped first
]


@dataclass(frozen=True, slots=True)
class ImageReport:
    """One image that was accepted, when no work on it goes on any more."""

    outcome: Outcome
    queue_seconds: float  # waiting to be decoded, and decoded for a batch
    decode_seconds: float
    inference_seconds: float  # of the batches that it was in, each whole


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One run of the session."""

    size: int  # images, without padding
    seconds: float
    error: BaseException | None  # why it gave nothing


@dataclass(frozen=True, slots=True)
class Statistics:
    """All since the start. `accepted_images` is at any moment `pending_images` and all `outcomes` together."""

    pending_images: int  # waiting, decoded, or in a batch; what may be no more than `max_pending_images`
    accepted_images: int
    refused_images: int  # as Overloaded
    outcomes: Mapping[Outcome, int]  # of the images that are not pending any more
    batch_sizes: Mapping[int, int]  # how many batches were run, by their number of images; failed ones too
    failed_batches: int
    queue_seconds: float  # of all images in `outcomes`
    decode_seconds: float  # of all images in `outcomes`
    inference_seconds: float  # of all batches, each once


class Counts:
    """The counters behind `Statistics`; not safe for threads by itself."""

    def __init__(self) -> None:
        self._accepted = self._refused = self._failed_batches = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._sizes: Counter[int] = Counter()
        self._queue_s = self._decode_s = self._inference_s = 0.0

    def accept(self, num_images: int) -> None:
        self._accepted += num_images

    def refuse(self, num_images: int) -> None:
        self._refused += num_images

    def image(self, report: ImageReport) -> None:
        self._outcomes[report.outcome] += 1
        self._queue_s += report.queue_seconds
        self._decode_s += report.decode_seconds

    def batch(self, report: BatchReport) -> None:
        self._sizes[report.size] += 1
        self._failed_batches += report.error is not None
        self._inference_s += report.seconds

    def snapshot(self, pending: int) -> Statistics:
        return Statistics(
            pending_images=pending,
            accepted_images=self._accepted,
            refused_images=self._refused,
            outcomes=dict(self._outcomes),
            batch_sizes=dict(sorted(self._sizes.items())),
            failed_batches=self._failed_batches,
            queue_seconds=self._queue_s,
            decode_seconds=self._decode_s,
            inference_seconds=self._inference_s,
        )
