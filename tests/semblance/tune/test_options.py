"""Bounds of a sweep."""

from __future__ import annotations

from typing import Any

import pytest

from semblance.errors import BackendError, InputError
from semblance.tune.options import SweepOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget_s": 0}, {"budget_s": float("nan")}, {"window_s": -1}, {"max_latency_ms": 0}, {"max_batch": 0},
        {"max_batch": 1.5}, {"backends": ("auto",)},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SweepOptions(**wrong)


def test_an_unknown_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(BackendError, match="openvino"):
        SweepOptions(backends=("tpu",))
