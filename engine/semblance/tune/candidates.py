"""What there is to try: the files of a model, and on each backend its threads, streams and batch sizes.

In: a model's file. Out: its files of all precisions, each with the reason where it must not take part, and settings.
A file takes part if it finds what the fp32 file finds: speed is worth nothing in a variant that loses neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from semblance.card import ModelCard, read_card
from semblance.errors import ModelError
from semblance.inference.models import precision_files


@dataclass(frozen=True, slots=True)
class Variant:
    """One file of the model."""

    path: Path
    card: ModelCard | None  # None where it has none that can be read
    left_out: str  # why it takes no part; "" where it does
    note: str = ""  # what is to be told of it where it takes part all the same

    @property
    def name(self) -> str:
        """What `--model` takes for it, if it lies where models are looked for by name."""
        return self.path.stem

    @property
    def precision(self) -> str:
        """Of the card; of the file's name where there is no card."""
        return self.card.precision if self.card else self.path.stem.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a file is run."""

    backend: str
    threads: int
    streams: int
    batch: int

    @property
    def told(self) -> str:
        """All but the batch, for people."""
        return f"{self.backend}, {counted(self.threads, 'thread')} in {counted(self.streams, 'stream')}"


def variants_of(model: Path, *, is_ungated: bool = False) -> list[Variant]:
    """The file `model` first, then those of other precisions. Raises ModelError where `model` itself has no card.

    `is_ungated` lets those take part that did not pass the gate of retrieval, or were never measured by it.
    """
    own = read_card(model)
    return [_variant(path, own, is_ungated) for path in precision_files(model)]


def gate_problem(card: ModelCard) -> str:
    """Why a model may not stand in for its fp32 file; "" where it may."""
    if card.precision == "fp32" or card.gate.get("passed") is True:
        return ""
    if "passed" not in card.gate:
        return "its card does not say what it finds of what the fp32 file finds; export it again"
    lost = card.gate.get("lost_p_at_10")
    figure = f": it loses {lost:.4f} of P@10" if isinstance(lost, float) else ""
    return f"it did not pass the gate of retrieval{figure}"


def thread_counts(available: int) -> list[int]:
    """All threads first; half of them, since two threads of one core can be in each other's way."""
    return list(dict.fromkeys([available, max(1, available // 2)]))


def stream_counts(threads: int, *, most: int = 8) -> list[int]:
    """Powers of two up to `threads`: more streams than `most` only cost memory."""
    return [1 << power for power in range(threads.bit_length()) if 1 << power <= min(threads, most)]


def coarse_batches(largest: int) -> list[int]:
    """Powers of four below `largest`, and `largest`: between two of them throughput bends but little."""
    return [*(4**power for power in range(16) if 4**power < largest), largest]


def batches_beside(batch: int, largest: int) -> list[int]:
    """What the coarse steps passed over around `batch`: half and twice of it, where larger sessions run such batches.

    They are padded to powers of two, so any other size would be measured in its own session and with its own ones.
    """
    return [size for size in (batch // 2, batch * 2) if 1 <= size <= largest and size.bit_count() == 1]


def counted(number: int, thing: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


# ------------------------------------------------------------------------------------------------------------------


def _variant(path: Path, own: ModelCard, is_ungated: bool) -> Variant:
    try:
        card = read_card(path)
    except ModelError as error:
        return Variant(path, None, str(error))
    if card.fingerprint != own.fingerprint:
        return Variant(
            path, card, f"its embedding space is another one, {card.fingerprint[:8]} for {own.fingerprint[:8]}"
        )
    problem = gate_problem(card)
    if problem and not is_ungated:
        return Variant(path, card, f"{problem}; --ungated takes it all the same")
    return Variant(path, card, "", problem)
