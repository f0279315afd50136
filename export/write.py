"""From an opened original to a file in place: graph, parity, card, and only then the rename.

In: what models/ opened, and a path. Out: an ONNX file that describes itself, with its measured parity. It is written
aside and renamed, so that whatever is killed, or differs from its original, leaves an older file as it was.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnx

from export.graph import build_graph, dimension_of
from export.images import parity_images
from export.parity import Parity, measure_parity, require, tolerance_of
from export.simplify import shape_arithmetic
from models.weights import Opened
from semblance.card import CARD_KEY, ModelCard, read_card
from semblance.errors import SemblanceError
from semblance.files import write_aside

_log = logging.getLogger(__name__)
_MANY, _SOME = 10_000, 1_000


class ExportError(SemblanceError):
    """A file that cannot be written where it was asked for."""


def export(opened: Opened, out: Path, *, opset: int = 18, num_images: int | None = None) -> tuple[ModelCard, Parity]:
    """Write `opened` to `out`, replacing a file there only after parity has passed.

    `num_images` defaults to 10,000 for networks small in input and parameters, 1,000 for others. Raises ParityError
    (the graph differs), ExportError (cannot write there), InputError (options).
    """
    require_writable(out)
    model = build_graph(opened, opset=opset)
    if left := shape_arithmetic(model):
        _log.warning("%s computes with shapes in %s: right, but a GPU waits there for the CPU", out.name, left)
    images = parity_images(opened.original, default_count(opened) if num_images is None else num_images)
    parity = measure_parity(model.SerializeToString(), opened, images.images, described=images.described)
    require(parity, tolerance_of(opened), name=opened.original.name)
    card = card_of(opened, dimension=dimension_of(model), opset=opset, parity=parity)
    write(with_card(model, card), out)
    return card, parity


def card_of(opened: Opened, *, dimension: int, opset: int, parity: Parity) -> ModelCard:
    """The card of an exported original."""
    original = opened.original
    return ModelCard(
        name=original.name,
        height=original.height,
        width=original.width,
        channels=original.channels,
        dimension=dimension,
        metric=original.metric,
        unit_length=original.unit_length,
        architecture=original.architecture,
        layer=original.layer,
        pooling=original.pooling,
        preprocess=original.preprocess_name,
        weights_sha256=opened.weights_sha256,
        resize=original.resize,
        crop=original.crop,
        source=opened.source,
        classes=original.classes,
        opset=opset,
        parity=parity.as_card(),
    )


def with_card(model: onnx.ModelProto, card: ModelCard) -> onnx.ModelProto:
    """The model with the card in its metadata, in place of any it had."""
    kept = [each for each in model.metadata_props if each.key != CARD_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=CARD_KEY, value=card.to_json())
    return model


def write(model: onnx.ModelProto, out: Path) -> None:
    """Save the model aside, read its card back, and rename it to `out`."""

    def save(aside: Path) -> None:
        onnx.save(model, aside)
        read_card(aside)

    write_aside(out, save)


def require_writable(out: Path) -> None:
    """Make the folder of `out`; ExportError where that cannot be, before minutes are spent on the graph."""
    if out.is_dir() or out.suffix != ".onnx":
        raise ExportError(f"{out} cannot be the exported file; give the path of a file that ends in .onnx")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise ExportError(f"cannot write to {out.parent} ({error.strerror}); give another place with --out") from error


def default_count(opened: Opened) -> int:
    """How many images parity is measured on."""
    is_small = opened.original.height * opened.original.width <= 28 * 28 and opened.network.count_params() < 1_000_000
    return _MANY if is_small else _SOME
