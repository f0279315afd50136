"""A source that tells what it was opened with."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from semblance.inputs.arrays import ArraySource
from semblance.inputs.chosen import Choice, ChosenSource, choice_of
from semblance.inputs.items import num_items
from semblance.inputs.sources import open_source
from tests.semblance.inputs.packing import png, write_images, write_tar


def test_a_source_tells_the_options_it_was_opened_with(tmp_path: Path) -> None:
    write_images(tmp_path, "photos/1.png")
    (tmp_path / "mine.csv").write_text("left,right,kind\nphotos/1.png,photos/2.png,x\n")
    (tmp_path / "labels.csv").write_text("1.png,x\n")
    chosen = open_source(tmp_path / "mine.csv", image_column="left", label_column="kind")
    assert choice_of(chosen) == Choice("left", "kind", None)
    assert [(item.uri, item.label) for item in chosen] == [("photos/1.png", "x")]
    labelled = open_source(tmp_path / "photos", labels=tmp_path / "labels.csv")
    assert choice_of(labelled) == Choice(labels_sha256=sha256(b"1.png,x\n").hexdigest())
    assert (len(labelled), labelled.name) == (1, str(tmp_path / "photos"))
    assert [item.label for item in labelled] == ["x"]
    assert choice_of(open_source(tmp_path / "photos")) == Choice()
    assert choice_of(ArraySource(np.zeros((1, 2, 2), np.uint8))) == Choice()


def test_a_stream_stays_one(tmp_path: Path) -> None:
    source = open_source(
        write_tar(tmp_path / "a.tar", [("1.png", png(0)), ("1.json", b'{"k": "x"}')]), label_column="k"
    )
    assert num_items(source) is None
    with pytest.raises(TypeError, match="a stream"):
        len(source)
    assert isinstance(source, ChosenSource)
