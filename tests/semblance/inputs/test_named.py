"""Data sets that have a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from semblance.errors import InputError, SourceError
from semblance.inputs.datasets import CLASSES
from semblance.inputs.sources import open_source
from tests.semblance.inputs.packing import assert_sorted_and_repeatable


def test_fashion_mnist_is_opened_by_name(fashion_mnist_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_DATA", str(fashion_mnist_dir.parent))
    both, test = open_source("fashion-mnist"), open_source("fashion-mnist:test")
    assert (len(both), len(test), test.name) == (70_000, 10_000, "fashion-mnist:test")
    assert next(iter(test)).label == "Ankle boot"
    assert {item.label for item in test} == set(CLASSES)
    assert_sorted_and_repeatable(both)
    with pytest.raises(SourceError, match="fashion-mnist:train"):
        open_source("fashion-mnist:valid")


def test_the_stand_in_is_opened_by_name_as_large_as_it_is_wanted() -> None:
    source = open_source("drawn-fashion:test:30")
    assert (len(source), source.name) == (30, "drawn-fashion:test:30")
    assert {item.label for item in source} == set(CLASSES)
    assert len(open_source("drawn-fashion:test")) == 10_000
    for spec in ("drawn-fashion", "drawn-fashion:valid", "drawn-fashion:test:x"):
        with pytest.raises(SourceError, match="drawn-fashion:train"):
            open_source(spec)


def test_data_sets_have_no_columns() -> None:
    with pytest.raises(InputError, match="no columns for label_column='x'"):
        open_source("drawn-fashion:test:30", label_column="x")
