"""What stands beside a trained model, as JSON: what a .keras file does not say, and which pictures it has not seen.

In: a training's facts. Out: `NAME.json` beside `NAME.keras`, and read back: an export takes the layer and the recipe of
preprocessing from it, a measurement the pictures that were held out.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.curves import Curves
from semblance.card import Metric
from semblance.errors import InputError
from semblance.files import write_whole

FORMAT = 1
Kind = Literal["classifier", "cnn", "pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one trained model."""

    kind: Kind
    base: str  # the network below the head
    weights: str  # what the base started from, in words
    source: str  # of the pictures
    size: int  # pictures are squeezed to size x size
    channels: int
    preprocess: str  # a name of models/preprocess.py
    layer: str  # whose output is the embedding
    metric: Metric
    unit_length: bool  # whether embeddings are to be L2-normalised
    classes: tuple[str, ...]
    seed: int
    train: tuple[str, ...]  # uris
    validation: tuple[str, ...]
    test: tuple[str, ...]  # never seen in training, nor in choosing the best epoch
    skipped: dict[str, str]  # uri -> why it could not be used
    figures: dict[str, float]  # of the weights that were kept
    best_epoch: int  # counted from 1 through all phases
    curves: Curves
    duration_s: float
    format: int = FORMAT

    def export_command(self, path: Path) -> str:
        """What turns the .keras file at `path` into ONNX."""
        command = f"python -m export --keras {path} --layer {self.layer} --preprocess {self.preprocess}"
        return command if self.unit_length else f"{command} --no-unit-length --metric {self.metric}"


def facts_path(model: Path) -> Path:
    """Where the facts of the .keras file `model` lie."""
    return model.with_suffix(".json")


def write_facts(facts: Facts, model: Path) -> None:
    """Put them beside the .keras file `model`."""
    text = json.dumps(dataclasses.asdict(facts), indent=1, allow_nan=False)
    write_whole(facts_path(model), text.encode())


def read_facts(model: Path) -> Facts:
    """Those beside the .keras file `model`. Raises InputError where there are none, or of another format."""
    path = facts_path(model)
    if not path.is_file():
        raise InputError(f"no facts at {path}; they are written with the model by `python -m models.train classifier`")
    try:
        fields = json.loads(path.read_text())
        if fields.get("format") != FORMAT:
            raise ValueError(f"format {fields.get('format')}, expected {FORMAT}")
        lists = ("classes", "train", "validation", "test")
        return Facts(**{name: tuple(value) if name in lists else value for name, value in fields.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the facts of a trained model ({error}); train it again") from error
