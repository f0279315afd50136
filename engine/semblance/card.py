"""What a model eats and gives: the card that travels inside its ONNX file, under `semblance.card`.

In: a `ModelCard`, or the path of an ONNX file. Out: the JSON for the file's metadata, or the checked card. Whoever
embeds, indexes or searches reads everything about a model from here, so that nobody can preprocess wrongly, and the
fingerprint says whether two vectors may be compared at all. Reading needs neither onnx nor a runtime: a model's
metadata lies in top-level fields of its protobuf, and the rest is skipped by seeking.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from semblance.errors import CardError, ModelError, ModelNotFound

CARD_KEY = "semblance.card"
CARD_FORMAT = 1

Metric = Literal["cos", "l2sq"]
Resize = Literal["area", "bilinear", "bicubic", "nearest"]
Crop = Literal["none", "center"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One exported model: input `image` [N, height, width, channels] uint8, output `embedding` [N, dimension] float32.

    Raises CardError where a field is missing, of the wrong type or out of range.
    """

    name: str  # what the command line calls it
    height: int  # of the graph's input, pixels
    width: int  # of the graph's input, pixels
    channels: int  # 1 grey, 3 RGB
    dimension: int  # D of the embedding
    metric: Metric  # how its vectors are compared: 1 - cosine, or squared Euclidean distance
    unit_length: bool  # the graph ends in an L2 normalisation

    # What defines the embedding space, beside the input and the normalisation above
    architecture: str  # "resnet101", "mobilenet_0.75"
    layer: str  # the last layer kept, by its Keras name
    pooling: Literal["none", "flatten", "average"]  # from that layer's output to [N, D]
    preprocess: str  # the recipe inside the graph: "rescale-255", "caffe", "tf", ...
    weights_sha256: str  # over the arrays of the kept layers, see models/weights.py
    resize: Resize = "area"  # kernel that brings a picture to height x width before the graph
    crop: Crop = "none"  # "none": the whole picture is squeezed; "center": scaled to cover, then cut

    # Provenance and measurement: they do not change the space
    source: str = ""  # where the weights came from, for people
    classes: tuple[str, ...] = ()
    precision: Precision = "fp32"
    opset: int = 18
    parity: Mapping[str, float | int | str] = field(default_factory=dict)  # fp32's, measured against the original
    gate: Mapping[str, float | int | str | bool] = field(default_factory=dict)  # measured against the fp32 file

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check_field(spec.name, getattr(self, spec.name))

    @property
    def fingerprint(self) -> str:
        """sha256 (64 hex digits) of all that defines the embedding space, and of nothing else.

        Precision is left out on purpose: the fp32, fp16, bf16 and int8 files of one model share a space, and those
        made from the fp32 file carry their measured drift from it in `gate`.
        """
        space = {name: getattr(self, name) for name in _SPACE_FIELDS}
        return hashlib.sha256(json.dumps(space, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The card as the JSON object that is written into ONNX metadata and gallery manifests."""
        fields: dict[str, Any] = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        fields["parity"] = dict(self.parity)
        fields["gate"] = dict(self.gate)
        if not self.gate:  # an fp32 file's card stays what earlier readers of this format know
            del fields["gate"]
        return json.dumps({"format": CARD_FORMAT, "fingerprint": self.fingerprint, **fields}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, where: str = "model card") -> ModelCard:
        """Read a card back and check it; `where` names the file in the CardError."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise CardError(f"{where}: the model card is not JSON ({error}); export the model again") from error
        if not isinstance(raw, dict) or raw.get("format") != CARD_FORMAT:
            found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
            raise CardError(
                f"{where}: model card format {found!r}, this semblance reads format {CARD_FORMAT}; "
                "export the model again or use a matching semblance"
            )
        claimed = raw.pop("fingerprint", None)
        del raw["format"]
        known = {spec.name for spec in dataclasses.fields(cls)}
        if unknown := sorted(raw.keys() - known):
            raise CardError(f"{where}: the model card has unknown fields {unknown}; export the model again")
        try:
            raw["classes"] = tuple(raw.get("classes", ()))
            card = cls(**raw)
        except (TypeError, CardError) as error:
            raise CardError(f"{where}: damaged model card: {error}; export the model again") from error
        if card.fingerprint != claimed:
            raise CardError(
                f"{where}: the model card's fingerprint {str(claimed)[:12]} does not fit its own fields "
                f"({card.fingerprint[:12]}): it was edited or damaged; export the model again"
            )
        return card


_SPACE_FIELDS = (
    "height", "width", "channels", "dimension", "unit_length",
    "architecture", "layer", "pooling", "preprocess", "weights_sha256", "resize", "crop",
)  # fmt: skip

_CHOICES: dict[str, tuple[Any, ...]] = {
    "metric": get_args(Metric),
    "resize": get_args(Resize),
    "crop": get_args(Crop),
    "precision": get_args(Precision),
    "pooling": ("none", "flatten", "average"),
    "channels": (1, 3),
}
_POSITIVE = ("height", "width", "dimension", "opset")
_TEXTS = ("name", "architecture", "layer", "preprocess")


def _check_field(name: str, value: Any) -> None:
    if name in _CHOICES and value not in _CHOICES[name]:
        raise CardError(f"{name} must be one of {list(_CHOICES[name])}, is {value!r}")
    if name in _POSITIVE and (type(value) is not int or value < 1):
        raise CardError(f"{name} must be a positive integer, is {value!r}")
    if name in _TEXTS and (not isinstance(value, str) or not value):
        raise CardError(f"{name} must be a non-empty string, is {value!r}")
    if name == "unit_length" and type(value) is not bool:
        raise CardError(f"unit_length must be true or false, is {value!r}")
    if name == "weights_sha256" and not _is_sha256(value):
        raise CardError(f"weights_sha256 must be 64 hex digits, is {value!r}")
    if name == "classes" and not all(isinstance(label, str) for label in value):
        raise CardError(f"classes must be strings, are {value!r}")
    if name in ("parity", "gate") and not isinstance(value, Mapping):
        raise CardError(f"{name} must be a mapping of figures, is {value!r}")


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


# ------------------------------------------------------------------------------------------------------------------
# The card inside an ONNX file


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """The card of the ONNX file at `path`.

    Raises ModelNotFound (no such file), ModelError (not an ONNX file, or cut short) or CardError (no card, damaged).
    """
    path = Path(path)
    if not path.is_file():
        raise ModelNotFound(f"no model file at {path}; `semblance models` lists the models that are here")
    metadata = read_metadata(path)
    if CARD_KEY not in metadata:
        raise CardError(f"{path}: an ONNX file without a model card; export it with `python -m export`")
    return ModelCard.from_json(metadata[CARD_KEY], where=str(path))


def read_metadata(path: Path) -> dict[str, str]:
    """All of an ONNX file's `metadata_props`, by key.

    Field numbers are those of `ModelProto` in onnx.proto: 7 graph, 14 metadata_props (an entry is 1 key, 2 value).
    """
    entries: dict[str, str] = {}
    has_graph = False
    try:
        with path.open("rb") as file:
            for number, start, size in _fields(file, 0, path.stat().st_size):
                has_graph = has_graph or number == 7
                if number == 14:
                    pair = {n: _bytes_at(file, s, z).decode() for n, s, z in list(_fields(file, start, start + size))}
                    entries[pair.get(1, "")] = pair.get(2, "")
    except (ValueError, EOFError) as error:
        raise ModelError(f"{path}: not an ONNX file, or cut short ({error}); export or copy it again") from error
    if not has_graph:
        raise ModelError(f"{path}: not an ONNX file (no graph inside); export or copy it again")
    return entries


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, offset, size) of each length-delimited protobuf field in [start, end); others are skipped.

    Wire format: protobuf.dev/programming-guides/encoding. Each payload is passed over by seeking, never read.
    """
    position = start
    while position < end:
        file.seek(position)
        tag = _varint(file)
        wire = tag & 7
        if wire == 2:
            size = _varint(file)
            position = file.tell() + size
            if position > end:
                raise EOFError(f"a field claims {size} bytes, {end - file.tell()} are left")
            yield tag >> 3, position - size, size
        elif wire == 0:
            _varint(file)
            position = file.tell()
        elif wire in (1, 5):
            position = file.tell() + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"protobuf wire type {wire} at byte {position}")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("the file ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number longer than ten bytes")


def _bytes_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
