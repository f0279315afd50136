"""Changes done one after the other in one commit, against a dict that does them one by one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semblance.errors import InputError
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.operations import Operation, Put, Remove, commit_operations
from semblance.gallery.shards import Row
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource
from tests.semblance.gallery.conftest import BlockMeans, pictures

CHANGE = st.tuples(st.sampled_from(["put", "remove", "nan"]), st.integers(0, 6))


def operation(kind: str, key: int, number: int) -> Operation:
    if kind == "remove":
        return Remove(key)
    vector = np.full((1, 16), np.nan if kind == "nan" else number + 1, np.float32)
    return Put(Row(key, f"{number}.jpg", "0" * 64, 9, 9), vector, None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(CHANGE, max_size=12), max_size=3))
def test_the_answers_are_those_of_a_dict(groups: list[list[tuple[str, int]]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        build(ArraySource(pictures(3), name="s"), BlockMeans(), folder / "g")
        held = {key: f"s#{key:06d}" for key in range(3)}
        with GalleryWriter.open(folder / "g") as writer:
            number = 0
            for group in groups:
                before, expected, operations = writer.manifest, [], []
                for kind, key in group:
                    number += 1
                    operations.append(operation(kind, key, number))
                    if kind == "nan":
                        expected.append(InputError)
                    elif kind == "put":
                        expected.append(key not in held)
                        held[key] = f"{number}.jpg"
                    else:
                        expected.append(held.pop(key, None) is not None)
                answers = commit_operations(writer, operations)
                assert [type(each) if isinstance(each, Exception) else each for each in answers] == expected
                if not any(expected) and "put" not in dict(group):
                    assert writer.manifest is before
        gallery = VectorGallery.open(folder / "g")
        assert {each.key: each.uri for each in gallery.facts(gallery.keys)} == held
    finally:
        shutil.rmtree(folder)
