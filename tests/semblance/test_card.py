"""The card: what is checked, what the fingerprint covers, and how it is read from an ONNX file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from semblance.card import CARD_KEY, ModelCard, read_card, read_metadata
from semblance.errors import CardError, ModelError, ModelNotFound


def card_of(**fields: Any) -> ModelCard:
    return ModelCard(
        **{
            "name": "m",
            "height": 28,
            "width": 28,
            "channels": 1,
            "dimension": 64,
            "metric": "cos",
            "unit_length": True,
            "architecture": "siamese",
            "layer": "embedding",
            "pooling": "none",
            "preprocess": "rescale-255",
            "weights_sha256": "ab" * 32,
            **fields,
        }
    )


def test_json_round_trip_keeps_every_field() -> None:
    card = card_of(
        classes=("a", "b"),
        parity={"min_cosine": 0.999999, "images": 1000},
        gate={"lost_p_at_10": 0.001, "num_images": 4000, "backend": "cpu", "passed": True},
        source="a file",
    )
    assert ModelCard.from_json(card.to_json()) == card


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channels", 2), ("height", 0), ("width", 28.0), ("dimension", True), ("metric", "ip"), ("unit_length", 1),
        ("pooling", "max"), ("name", ""), ("weights_sha256", "xyz"), ("precision", "fp64"), ("resize", "lanczos"),
        ("crop", "five"), ("classes", (1,)), ("parity", [1]), ("gate", 0.005), ("layer", None),
    ],
)  # fmt: skip
def test_a_field_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(CardError, match=field):
        card_of(**{field: value})


SPACE = {
    "height": 32, "width": 32, "channels": 3, "dimension": 65, "unit_length": False, "architecture": "x", "layer": "x",
    "pooling": "average", "preprocess": "x", "weights_sha256": "cd" * 32, "resize": "bilinear", "crop": "center",
}  # fmt: skip
OUTSIDE = {
    "name": "x", "metric": "l2sq", "source": "x", "classes": ("x",), "precision": "int8", "opset": 17,
    "parity": {"x": 1.0}, "gate": {"passed": True},
}  # fmt: skip


def test_the_fingerprint_is_about_the_space_and_nothing_else() -> None:
    base = card_of().fingerprint
    assert set(SPACE) | set(OUTSIDE) == {field.name for field in dataclasses.fields(ModelCard)}
    for field, value in SPACE.items():
        assert card_of(**{field: value}).fingerprint != base, field
    for field, value in OUTSIDE.items():
        assert card_of(**{field: value}).fingerprint == base, field


def test_a_card_without_a_gate_is_written_without_one() -> None:
    assert "gate" not in json.loads(card_of().to_json())
    assert ModelCard.from_json(card_of().to_json()).gate == {}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw.update(dimension=65), "fingerprint"),
        (lambda raw: raw.update(format=2), "format 2"),
        (lambda raw: raw.update(colour="blue"), "colour"),
        (lambda raw: raw.pop("layer"), "layer"),
        (lambda raw: raw.update(classes=3), "classes|iterable"),
        (lambda raw: raw.pop("fingerprint"), "fingerprint"),
    ],
)
def test_an_edited_card_is_refused(edit: Any, message: str) -> None:
    raw = json.loads(card_of().to_json())
    edit(raw)
    with pytest.raises(CardError, match=message):
        ModelCard.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_a_card_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(CardError, match="card"):
        ModelCard.from_json(text)


# ----------------------------------------------------------------------------------------------------------------------


def test_reads_what_the_onnx_package_wrote(tiny_model: Any) -> None:
    import onnx

    assert read_card(tiny_model.path) == tiny_model.card
    theirs = {entry.key: entry.value for entry in onnx.load(tiny_model.path).metadata_props}
    assert read_metadata(tiny_model.path) == theirs


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nothing\.onnx"):
        read_card(tmp_path / "nothing.onnx")


def test_an_onnx_file_without_a_card_says_how_to_get_one(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    del model.metadata_props[:]
    onnx.save(model, tiny_model.path)
    with pytest.raises(CardError, match="python -m export"):
        read_card(tiny_model.path)


def test_every_truncation_and_foreign_file_is_an_error_of_ours(tiny_model: Any, tmp_path: Path) -> None:
    whole = tiny_model.path.read_bytes()
    victim = tmp_path / "cut.onnx"
    for size in [*range(64), *range(64, len(whole), 97), len(whole) - 1]:
        victim.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            read_card(victim)
    for content in (b"\x89PNG\r\n\x1a\n", b"plain text, not a model", b"\xff" * 400, b"{}"):
        victim.write_bytes(content)
        with pytest.raises(ModelError):
            read_card(victim)


def test_flipped_bytes_inside_the_card_never_pass_for_another_space(tiny_model: Any, tmp_path: Path) -> None:
    whole = bytearray(tiny_model.path.read_bytes())
    start = whole.rfind(CARD_KEY.encode())
    victim = tmp_path / "flipped.onnx"
    for position in range(start, len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x04
        victim.write_bytes(flipped)
        try:
            card = read_card(victim)
        except ModelError:
            continue
        assert card.fingerprint == tiny_model.card.fingerprint
