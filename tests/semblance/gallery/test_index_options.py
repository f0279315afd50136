"""Which options an index takes, and which number type is chosen for which vectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery.exact import search_exact
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_options import IndexOptions, choose_type
from semblance.metrics import neighbour_overlap

NUM, DIMENSION = 3000, 64


def clustered(seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((50, DIMENSION))
    points = centres[rng.integers(0, 50, NUM)] + 0.5 * rng.standard_normal((NUM, DIMENSION))
    return points.astype(np.float32)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "f64"}, "dtype must be one of f32, f16, bf16, i8, is 'f64'"),
        ({"connectivity": 1}, "connectivity must be an integer of at least 2, is 1"),
        ({"expansion_add": 0}, "expansion_add must be an integer of at least 1, is 0"),
        ({"expansion_search": "x"}, "expansion_search must be an integer of at least 1, is 'x'"),
        ({"expansion_search": True}, "is True"),
        ({"expansion_search": 2.5}, r"is 2\.5"),
    ],
)
def test_options_that_cannot_be(options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        IndexOptions(**options)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1, 1e3, 1e6])
@pytest.mark.parametrize("shift", [0, 100])
def test_what_is_chosen_finds_what_exact_search_finds(scale: float, shift: float) -> None:
    vectors = (clustered(0) + np.float32(shift)) * np.float32(scale)
    dtype = choose_type(vectors, "l2sq")
    assert dtype == ("f16" if shift == 0 and 1e-3 <= scale <= 1e3 else "f32")
    index = VectorIndex.build(vectors, metric="l2sq", expansion_search=256)
    assert index.dtype == dtype
    truth, _ = search_exact(vectors[:200], vectors, k=10, metric="l2sq")
    assert neighbour_overlap(index.search(vectors[:200], 10)[0], truth).mean() >= 0.985


@pytest.mark.parametrize(("smallest", "dtype"), [(-6, "f32"), (-2, "f16")])
def test_small_rows_count_as_much_as_large_ones(smallest: int, dtype: str) -> None:
    lengths = 10.0 ** np.random.default_rng(1).uniform(smallest, 3, (NUM, 1))
    assert choose_type((clustered(0) * lengths).astype(np.float32), "l2sq") == dtype
    one_small = clustered(0)
    one_small[1234] *= np.float32(10.0**smallest)
    assert choose_type(one_small, "l2sq") == dtype


def test_cosine_zeros_and_next_to_nothing() -> None:
    assert choose_type(clustered(0) * np.float32(1e30), "cos") == "f16"
    assert choose_type(np.zeros((3, 4), np.float32), "l2sq") == "f16"
    assert choose_type(np.zeros((0, 4), np.float32), "l2sq") == "f16"
    assert choose_type(np.full((1, 4), 1e-30, np.float32), "l2sq") == "f32"
