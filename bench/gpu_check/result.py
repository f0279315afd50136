"""The document of one run: what it holds, where it goes, and what follows from its figures.

In: checks and rows. Out: JSON in bench/results/gpu-DEVICE-DATE.json, raw, with the device's and the machine's
description first; tables are made from it later. Each row says by itself what it is worth nothing without: threads,
runtime and its version, precision, and whether the copies between host and device are in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gpu_check.setting import PARTS

FOLDER = Path(__file__).parents[1] / "results"
FORMAT = 1

FIELDS = (
    "format", "date", "passed", "device", "machine", "versions", "parts", "seconds", "models", "checks", "ceiling",
    "speed", "contenders", "absent", "matching", "memory", "not_measured",
)  # fmt: skip
ROW_FIELDS = ("batch", "precision", "copies", "threads", "runtime")
FIGURES = ("p50_ms", "p99_ms", "images_per_sec", "num_calls")


def file_name(device: str, date: str, parts: Sequence[str]) -> str:
    """Of the device's name in lower case, a day as 2026-01-31, and the parts that ran, if not all of them did."""
    words = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    some = "" if set(parts) == set(PARTS) else f"-{'-'.join(parts)}"
    return f"gpu-{words}-{date}{some}.json"


def write(document: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write it, and where it lies. Raises ValueError for one that lacks a field."""
    if problems := lacking(document):
        raise ValueError(f"the result lacks {', '.join(problems)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(document["device"]["name"], document["date"], document["parts"])
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def lacking(document: Mapping[str, Any]) -> list[str]:
    """What a document should have and does not: fields, and of each row what gives it a meaning."""
    problems = [field for field in FIELDS if field not in document]
    for kind in ("speed", "contenders"):
        for number, row in enumerate(document.get(kind, ())):
            needed = ROW_FIELDS if "failed" in row else (*ROW_FIELDS, *FIGURES)
            problems += [f"{kind}[{number}].{field}" for field in needed if field not in row]
    return problems


def add_rates(
    rows: Iterable[dict[str, Any]], flops: Mapping[str, int | None], ceiling: Sequence[Mapping[str, Any]]
) -> None:
    """Write into each measured row of a model TFLOP/s, and their share of the device's product of that precision."""
    peaks = {row["precision"]: row["tflop_per_sec"] for row in ceiling if "tflop_per_sec" in row}
    for row in rows:
        count = flops.get(row["model"])
        if "failed" in row or count is None:
            continue
        row["tflop_per_sec"] = row["images_per_sec"] * count / 1e12
        peak = peaks.get("fp16" if row["precision"] == "bf16" else row["precision"])  # the same units compute both
        row["share_of_ceiling"] = row["tflop_per_sec"] / peak if peak else None


def fastest(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any] | None:
    """The measured row with the most images per second of those that have the `wanted` values."""
    fitting = [row for row in rows if "failed" not in row and all(row[key] == value for key, value in wanted.items())]
    return max(fitting, key=lambda row: row["images_per_sec"], default=None)
