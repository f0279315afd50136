"""Whether what LoadGen was answered is what the encoder gives: its accuracy log, decoded, against our own embeddings.

In: the folder of a run in accuracy mode, where each response stands as the bytes of its embedding. Out: how many are
not the embedding of their own sample. That is the check of the harness itself: a query answered with another's
embedding is as fast as the right one, and no latency tells.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_TOLERANCES = {"fp32": 1e-3}  # of the length of an embedding: batches of another size round otherwise
_COARSE = 0.05  # where the arithmetic has fewer bits
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How answers stand to embeddings."""

    num_samples: int
    num_wrong: int
    first_wrong: tuple[int, ...]  # the numbers of some of those samples
    num_missing: int  # samples without an answer
    num_repeated: int  # answers beyond the first of a sample
    max_difference: float  # of right and wrong ones, to the length of the sample's own embedding

    @property
    def holds(self) -> bool:
        """Whether every sample has one answer, and the right one."""
        return not (self.num_wrong or self.num_missing or self.num_repeated)


def read_answers(folder: Path) -> tuple[NDArray[np.intp], list[NDArray[np.float32]]]:
    """The numbers of the samples [N] and the answers, N times [D], in the order in which LoadGen logged them."""
    logged = json.loads((folder / "mlperf_log_accuracy.json").read_text())
    numbers = np.array([each["qsl_idx"] for each in logged], np.intp)
    return numbers, [np.frombuffer(bytes.fromhex(each["data"]), np.float32) for each in logged]


def compare(
    numbers: NDArray[np.intp], answers: list[NDArray[np.float32]], own: NDArray[np.float32], *, precision: str = "fp32"
) -> Agreement:
    """Answers for samples `numbers` against `own` embeddings [N, D] of samples 0 to N - 1.

    An answer is right if it is as near to its own sample's embedding as arithmetic allows, and no other sample's is
    nearer.
    """
    tolerance = _TOLERANCES.get(precision, _COARSE)
    wrong, largest = [], 0.0
    for number, answer in zip(numbers.tolist(), answers, strict=True):
        if answer.shape != own.shape[1:] or number >= len(own):
            wrong.append(number)
            continue
        distances = np.linalg.norm(own - answer, axis=1)  # [N]
        length = float(np.linalg.norm(own[number]))
        difference = float(distances[number]) / (length or 1.0)
        largest = max(largest, difference)
        if not (difference <= tolerance and distances[number] <= distances.min()):  # also where it is not a number
            wrong.append(number)
    found = np.unique(numbers)
    return Agreement(
        num_samples=len(own),
        num_wrong=len(wrong),
        first_wrong=tuple(wrong[:_SHOWN]),
        num_missing=len(np.setdiff1d(np.arange(len(own)), found)),
        num_repeated=len(numbers) - len(found),
        max_difference=largest,
    )
