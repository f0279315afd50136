"""What is asked of a measurement of the originals, and what its rows do alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.originals.comparing import EXACT, INDEX
from bench.originals.contenders import FP32, PRECISIONS
from bench.originals.published import of_row
from bench.originals.reproduced import left_out
from bench.records import Record
from export.images import data_folders, find_data
from semblance.card import Precision
from semblance.errors import InputError, SourceError

Emit = Callable[[Record], None]

_AUTOENCODER = Path("originals", "autoencoder_model.h5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How much is measured."""

    quick: bool = False  # exact search, each original's own metric, and whole rankings of fp32 alone
    train: bool = False  # train what has no published weights, minutes each
    weights_resnet101: str | None = None  # "imagenet", "random" or a file; None: row 3 is left out
    num_images: int | None = None  # of row 3; None: all 5,000
    precisions: tuple[Precision, ...] = PRECISIONS
    threads: int = 2

    def __post_init__(self) -> None:
        if self.num_images is not None and self.num_images < 2:
            raise InputError(f"at least 2 images are needed, so that one has a neighbour; were {self.num_images}")
        if unknown := set(self.precisions) - set(PRECISIONS):
            raise InputError(f"precisions are {', '.join(PRECISIONS)}; were also {', '.join(sorted(unknown))}")

    def precisions_of(self, *, is_main: bool) -> tuple[Precision, ...]:
        """Those that a model is compared in: of a row's other models, when it is to be quick, only fp32."""
        return tuple(each for each in self.precisions if each == FP32 or is_main or not self.quick)

    @property
    def ranked_whole(self) -> tuple[Precision, ...]:
        """Of which contenders the whole ranking is worked out."""
        return (FP32,) if self.quick else PRECISIONS

    @property
    def searches(self) -> tuple[str, ...]:
        """How neighbours are searched for."""
        return (EXACT,) if self.quick else (EXACT, INDEX)


def published_autoencoder() -> Path:
    """The published model file, in SEMBLANCE_DATA or ../shared/data. Raises SourceError where it is in neither."""
    if (found := find_data(_AUTOENCODER)) is not None:
        return found
    looked = ", ".join(map(str, data_folders()))
    raise SourceError(
        f"the published {_AUTOENCODER.name} is in none of {looked}; put it into a folder `originals` of one of them, "
        "or set SEMBLANCE_DATA to a folder that has it"
    )


def absent_record(row: int, contender: str, precision: Precision, reason: str) -> Record:
    """A contender that was not measured."""
    return {
        "kind": "absent",
        "suite": "originals",
        "race": f"row {row}",
        "contender": contender,
        "precision": precision,
        "reason": " ".join(reason.split()),
    }


def leave_out(emit: Emit, row: int, original: str, reason: str) -> None:
    """Emit that an original was not measured, and its published figures without any beside them."""
    emit(absent_record(row, original, FP32, reason))
    for record in left_out([each for each in of_row(row) if each.original == original], reason):
        emit(record)
