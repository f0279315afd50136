"""Products of bytes beside the same in integers, and what stands in where a processor cannot be trusted with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from semblance.errors import RuntimeMissing
from semblance.gallery import codes_product as module
from semblance.gallery.codes_product import CodesProduct, codes_product, encode, error_of


def unit(num: int, dimension: int, seed: int) -> Any:
    vectors = np.random.default_rng(seed).standard_normal((num, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("dimension", [1, 2, 63, 64, 1000])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_scores_are_those_of_the_codes(dimension: int, factor: float) -> None:
    queries, vectors = encode(unit(7, dimension, 0), is_one_factor=True), encode(unit(96, dimension, 1))
    bias = np.random.default_rng(2).random(96, dtype=np.float32)
    out = np.empty((7, 48), np.float32)
    if (product := codes_product(dimension)) is None:
        pytest.skip("this processor does not multiply bytes exactly")
    minima = product.scores(queries, vectors, slice(48, 96), factor=factor, bias=bias, group=16, out=out)
    integers = queries.bytes.astype(np.int64) @ vectors.bytes[48:].astype(np.int64).T
    expected = (
        bias[48:] - factor * queries.factors[:, None].astype(float) * vectors.factors[48:].astype(float) * integers
    )
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_array_equal(minima, out.reshape(7, 16, 3).min(axis=1))


@pytest.mark.parametrize("is_one_factor", [False, True])
def test_the_residual_is_no_shorter_than_any_difference(is_one_factor: bool) -> None:
    vectors = np.concatenate([unit(200, 300, 0), np.zeros((1, 300), np.float32), np.eye(2, 300, dtype=np.float32)])
    vectors[5] *= np.float32(1e-30)
    codes = encode(vectors, is_one_factor=is_one_factor)
    assert np.abs(codes.bytes).max() == 127
    stands_for = codes.bytes.astype(np.float64) * codes.factors[:, None]
    longest = np.linalg.norm(stands_for - vectors, axis=1).max()
    assert longest <= codes.residual <= 1.001 * longest + 1e-6
    assert error_of(codes, codes, 1.0) > 2 * codes.residual


def test_no_vectors_have_no_residual() -> None:
    assert len(encode(np.empty((0, 4), np.float32)).bytes) == 0


@pytest.mark.parametrize("failure", [RuntimeMissing("none"), None])
def test_without_a_product_that_can_be_trusted_there_is_none(
    failure: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CutOff(CodesProduct):
        """As a processor that adds pairs of products in 16 bits."""

        def __init__(self) -> None:
            if failure is not None:
                raise failure
            super().__init__()

        def scores(self, *given: Any, out: Any, **options: Any) -> Any:
            minima = super().scores(*given, out=out, **options)
            np.maximum(out, -(32 * 32767 - 128 * 64 * 127), out=out)
            return minima

    monkeypatch.setattr(module, "CodesProduct", CutOff)
    assert module._loaded.__wrapped__() is None


def test_sums_that_may_not_fit_into_32_bits_are_left_to_floats() -> None:
    assert 133_144 * 127**2 < 2**31 <= 133_145 * 127**2
    assert codes_product(133_145) is None
    assert (codes_product(133_144) is None) == (codes_product(64) is None)
