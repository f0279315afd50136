"""The engine's decoding and resizing alone: no way from files to embeddings is faster. It embeds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contenders import Asked, Loaded, Role

TITLE = "decoding alone"
ROLE: Role = "ceiling"
PACKAGES = ("opencv-python-headless",)


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), of which the card is read."""

    from semblance.card import read_card
    from semblance.inference.batches import work_ahead
    from semblance.inputs.decode import decode, single_threaded
    from semblance.inputs.resize import fit

    card = read_card(Path(asked["file"]))
    single_threaded()  # pictures are decoded side by side, each in one thread

    def run(paths: Sequence[str]) -> int:
        def prepare(path: str) -> int:
            return len(fit(decode(Path(path), channels=card.channels), card))

        return sum(work_ahead(paths, prepare, workers=asked.threads))

    return Loaded(run, answers=lambda _: None)
