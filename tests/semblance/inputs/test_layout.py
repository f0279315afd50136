"""Which column of a table is what."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from semblance.errors import InputError, SourceError
from semblance.inputs.layout import Kind, Layout, find_layout

PATH = Path("a.parquet")
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def layout_of(fields: dict[str, pa.DataType], metadata: dict[str, str] | None = None, **chosen: str) -> Layout:
    schema = pa.schema(fields, metadata=metadata)
    return find_layout(PATH, schema, image_column=chosen.get("image"), label_column=chosen.get("label"))


@pytest.mark.parametrize(
    ("fields", "image", "kind"),
    [
        ({"n": pa.int64(), "x": pa.binary()}, "x", "bytes"),
        ({"x": pa.large_binary(), "path": pa.string()}, "x", "bytes"),
        ({"hash": pa.binary(), "x": STRUCT}, "x", "struct"),
        ({"x": pa.struct({"bytes": pa.large_binary()}), "path": pa.string()}, "x", "struct"),
        ({"text": pa.string(), "Image_Path": pa.string()}, "Image_Path", "path"),
        ({"uri": pa.string(), "path": pa.large_string()}, "path", "path"),
    ],
)
def test_the_pictures_are_found(fields: dict[str, pa.DataType], image: str, kind: Kind) -> None:
    layout = layout_of(fields)
    assert (layout.image, layout.kind) == (image, kind)


def test_what_hugging_face_calls_an_image_goes_before() -> None:
    features = {"info": {"features": {"b": {"_type": "Image"}, "c": {"_type": "ClassLabel", "names": ["x", "y"]}}}}
    layout = layout_of({"a": STRUCT, "b": STRUCT, "c": pa.int64()}, {"huggingface": json.dumps(features)})
    assert (layout.image, layout.classes) == ("b", {"c": ["x", "y"]})


@pytest.mark.parametrize("metadata", ["", "{", "[]", '{"info": 1}', '{"info": {"features": [1]}}', "null"])
def test_odd_metadata_are_no_metadata(metadata: str) -> None:
    layout = layout_of({"x": pa.binary(), "label": pa.int64()}, {"huggingface": metadata})
    assert layout == Layout("x", "bytes", None, "label", {}, {})


def test_only_what_an_item_needs_is_read() -> None:
    fields = {
        "x": STRUCT,
        "vector": pa.list_(pa.float32()),
        "more": pa.binary(),
        "key": pa.int64(),
        "label": pa.string(),
    }
    layout = layout_of(fields)
    assert layout.needed == ["x", "label", "key"]
    assert layout.columns == {"source_key": "key"}
    assert layout_of(fields, image="more", label="key").needed == ["more", "key", "label"]


def test_nothing_is_guessed() -> None:
    with pytest.raises(SourceError, match=r"columns \['x', 'y'\] all hold pictures; say which: image_column='x'"):
        layout_of({"x": STRUCT, "y": STRUCT})
    with pytest.raises(SourceError, match="a name of its own for each"):
        find_layout(PATH, pa.schema([("x", pa.binary())] * 2), image_column=None, label_column=None)
    with pytest.raises(InputError, match=r"no column 'z'; there are \['x'\]"):
        layout_of({"x": STRUCT}, image="z")
    assert layout_of({"x": STRUCT, "label": pa.list_(pa.int64())}).label is None
