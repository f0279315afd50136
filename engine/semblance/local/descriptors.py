"""Descriptors of many pictures as one array: what is matched, stored and cut into tiles.

In: uint8 [K, 128] of each picture. Out: all of them behind each other, and where each picture's begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError

DIMENSION = 128  # of SIFT: 4 x 4 cells of 8 directions (Lowe, 2004, section 6.1)

Descriptors = NDArray[np.uint8]  # [K, 128]


@dataclass(frozen=True, slots=True)
class DescriptorSets:
    """S sets of descriptors; set i is `descriptors[offsets[i] : offsets[i + 1]]`."""

    descriptors: Descriptors  # [sum of K, 128]
    offsets: NDArray[np.int64]  # [S + 1]

    def __post_init__(self) -> None:
        """Raises InputError for what is no uint8 [K, 128], and for offsets that do not ascend from 0 to its end."""
        check_descriptors(self.descriptors)
        ends = self.offsets
        if not isinstance(ends, np.ndarray) or ends.dtype != np.int64 or ends.ndim != 1 or len(ends) == 0:
            raise InputError("offsets must be int64 [S + 1]")
        if ends[0] != 0 or ends[-1] != len(self.descriptors) or (np.diff(ends) < 0).any():
            raise InputError(f"offsets must ascend from 0 to the {len(self.descriptors)} descriptors that there are")

    @classmethod
    def join(cls, sets: Sequence[Descriptors]) -> DescriptorSets:
        """Put `sets`, uint8 [K_i, 128] each, behind each other. Raises InputError for anything else."""
        for each in sets:
            check_descriptors(each)
        offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
        if len(sets) == 1:
            return cls(sets[0], offsets)
        return cls(np.concatenate([np.empty((0, DIMENSION), np.uint8), *sets]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Descriptors:
        return self.descriptors[self.offsets[number] : self.offsets[number + 1]]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many descriptors each set has, [S]."""
        return np.diff(self.offsets)


def check_descriptors(descriptors: Descriptors) -> None:
    """Raises InputError for what is no uint8 [K, 128]."""
    is_array = isinstance(descriptors, np.ndarray)
    if not is_array or descriptors.dtype != np.uint8 or descriptors.ndim != 2 or descriptors.shape[1] != DIMENSION:
        given = f"{descriptors.dtype} {list(descriptors.shape)}" if is_array else type(descriptors).__name__
        raise InputError(f"descriptors must be uint8 [K, {DIMENSION}], as SIFT's are without loss, are {given}")
