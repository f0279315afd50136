"""Where a build's time went, and what would make it faster, in one line.

In: the seconds that each stage was busy. Out: a `BuildReport`. Every stage runs while the others do, so the one that is
never idle is the one to speed up.
"""

from __future__ import annotations

from dataclasses import dataclass

from semblance.gallery.pipeline import Times

_BUSY = 0.8  # of the stream's time; what is left over would not repay a change elsewhere
_SHORT_SECONDS = 5.0  # in a shorter run, starting and ending may take longest,
_HARDLY_BUSY = 0.6  # as they do where every stage was idle for more than the rest of the time


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did and where its time went."""

    num_images: int  # in the gallery now
    num_errors: int  # listed in errors.parquet now
    num_taken: int  # items of the source that this run took, usable or not
    num_added: int  # images that came into the gallery with this run
    seconds: dict[
        str, float
    ]  # each stage busy: decode and inference (all threads together), write, index; total: clock
    busy: dict[str, float]  # share of the stream's time that a worker, an inference stream and the writer worked
    images_per_sec: float  # items that this run took, over the total
    advice: str  # which stage the others waited for, and what would help; empty where that cannot be told


def make_report(
    times: Times,
    *,
    num_images: int,
    num_errors: int,
    num_taken: int,
    num_added: int,
    total_seconds: float,
    has_keypoints: bool = False,
) -> BuildReport:
    """The report of a run that took `num_taken` items in `total_seconds`; with keypoints, decoding includes them."""
    seconds = {stage: times.busy.get(stage, 0.0) for stage in ("decode", "inference", "write", "index")}
    seconds["total"] = total_seconds
    stream = max(total_seconds - seconds["index"], 1e-9)
    busy = {
        "decode": seconds["decode"] / max(1, times.workers) / stream,
        "inference": seconds["inference"] / max(1, times.streams) / stream,
        "write": seconds["write"] / stream,
    }
    return BuildReport(
        num_images=num_images,
        num_errors=num_errors,
        num_taken=num_taken,
        num_added=num_added,
        seconds=seconds,
        busy=busy,
        images_per_sec=num_taken / total_seconds,
        advice=_advice(busy, seconds["index"] / total_seconds, total_seconds, has_keypoints) if num_taken else "",
    )


def _advice(busy: dict[str, float], index_share: float, total_seconds: float, has_keypoints: bool) -> str:
    """A model that is always busy is the slowest stage itself; one that is not waits for the busier of the others."""
    if total_seconds < _SHORT_SECONDS and max(index_share, *busy.values()) < _HARDLY_BUSY:
        return ""
    if index_share > 0.5:
        return (
            "index-bound: most of the time went into the index, which is normal with a fast model; without "
            "--deterministic, or with a smaller --index-type, it is built faster"
        )
    if busy["inference"] >= _BUSY:
        return "inference-bound: a smaller model, a narrower precision, or a GPU (--backend cuda) would help"
    if busy["write"] > busy["decode"]:
        return "write-bound: the model waited for the disk; a faster one, or --vector-type float16, would help"
    if has_keypoints:
        return (
            "decode-bound, most of it by SIFT: raise --workers; with a smaller --sift-longest-side a new gallery would "
            "take less"
        )
    return (
        "decode-bound: raise --workers, and for large JPEGs give --scaled-decode; where all processors are busy, lower "
        "--threads"
    )
