"""Rows and windows with figures that were never measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semblance.card import ModelCard
from semblance.tune.candidates import Setting, Variant
from semblance.tune.choice import Row
from semblance.tune.measuring import Speed, Window

FIELDS: dict[str, Any] = {
    "name": "made-up", "height": 8, "width": 8, "channels": 1, "dimension": 4, "metric": "l2sq", "unit_length": False,
    "architecture": "none", "layer": "none", "pooling": "flatten", "preprocess": "none", "weights_sha256": "0" * 64,
}  # fmt: skip
FP32 = Variant(Path("made-up.onnx"), ModelCard(**FIELDS), "")
INT8 = Variant(Path("made-up.int8.onnx"), ModelCard(**FIELDS, precision="int8"), "")


def row(
    images_per_sec: float,
    *,
    variant: Variant = FP32,
    backend: str = "cpu",
    batch: int = 8,
    threads: int = 2,
    streams: int = 1,
    p50_ms: float = 1.0,
    tail_ms: float = 2.0,
    is_stable: bool = True,
    is_final: bool = True,
) -> Row:
    """A row of these figures."""
    speed = Speed(images_per_sec, p50_ms, tail_ms, "p99", 300, is_stable)
    return Row(
        variant=variant,
        backend=backend,
        setting=Setting(backend, threads, streams, batch),
        speed=speed,
        is_final=is_final,
    )


def window(images_per_sec: float, *latencies_ms: float) -> Window:
    """A window of these figures."""
    return Window(images_per_sec, latencies_ms or (1.0,))
