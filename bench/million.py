"""A gallery of a million vectors through its life: built, opened by mmap, searched, a tenth removed, searched again.

    python -m bench.million
    python -m bench.million --rows 100000 --dimension 64

In: the made-up vectors of `bench.neighbours`. Each step is timed, and its answers are compared with exact search.
Memory is this process's peak so far, mapped files included, and what it holds for itself then, without them. The last
line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.index import PACKAGES, K
from bench.neighbours import clustered, recall
from bench.worker import own_bytes
from semblance.card import ModelCard
from semblance.gallery.build import build
from semblance.gallery.exact import search_exact
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.upkeep import compact
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource

_QUERIES = 1000


@dataclass
class Numbered:
    """An encoder that knows all vectors and reads off a picture which one is its own."""

    vectors: NDArray[np.float32]
    max_batch: int = 256
    backend: str = "cpu"
    streams: int = 1

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            name="numbered", height=1, width=4, channels=1, dimension=self.vectors.shape[1], metric="cos",
            unit_length=True, architecture="numbered", layer="all", pooling="none", preprocess="none",
            weights_sha256="0" * 64,
        )  # fmt: skip

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.vectors[np.ascontiguousarray(images).reshape(-1, 4).view("<u4")[:, 0]]

    def release_memory(self) -> None: ...


def live(folder: Path, num: int, dimension: int, *, threads: int) -> dict[str, Any]:
    """Seconds, queries per second, recall and bytes of each step."""
    vectors, queries = clustered(num, dimension, seed=0), clustered(_QUERIES, dimension, seed=1)
    removed = np.sort(np.random.default_rng(2).choice(num, num // 10, replace=False))
    left = np.setdiff1d(np.arange(num), removed)
    steps: dict[str, Any] = {"rows": num, "dimension": dimension, "queries": _QUERIES, "threads": threads, "steps": []}

    def timed(name: str, work: Callable[[], Any], **facts: Any) -> Any:
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        facts = {"peak_rss_bytes": peak, "own_bytes": own_bytes(), **facts}
        steps["steps"].append({"step": name, "seconds": seconds, **facts})
        return result

    def search(name: str, gallery: VectorGallery, truth: Any) -> None:
        gallery.search(queries[:10], k=K, threads=threads)  # warm-up
        found = timed(name, lambda: gallery.search(queries, k=K, threads=threads).keys)
        last = steps["steps"][-1]
        last |= {"queries_per_sec": _QUERIES / last["seconds"], "recall_at_10": recall(found, truth)}

    truth = search_exact(queries, vectors, k=K, metric="cos")[0]
    truth_left = left[search_exact(queries, vectors[left], k=K, metric="cos")[0]]
    path = folder / "gallery"
    pixels = np.arange(num, dtype="<u4").view(np.uint8).reshape(num, 1, 4)
    report = timed("build", lambda: build(ArraySource(pixels, name="numbers"), Numbered(vectors), path))
    steps["steps"][-1] |= {"index_s": report.seconds["index"]}
    gallery = timed("open by mmap", lambda: VectorGallery.open(path))
    steps |= {"dtype": gallery.index.dtype, "index_bytes": gallery.manifest.index.num_bytes}
    search("search", gallery, truth)
    timed("exact search", lambda: gallery.search(queries, k=K, exact=True))
    with GalleryWriter.open(path) as writer:
        timed("remove a tenth", lambda: writer.remove(removed))
        search("search before the index knows", VectorGallery.open(path), truth_left)
        timed("index without them", lambda: writer.update_index(threads=threads))
    search("search without them", timed("open again", lambda: VectorGallery.open(path)), truth_left)
    assert timed("verify", lambda: verify(path)) == []
    timed("compact", lambda: compact(path, threads=threads))
    return steps


def main() -> None:
    """Measure, print a table and one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.rows < 10 * K or given.dimension < 1 or given.threads < 1:
        parser.error(f"--rows must be at least {10 * K}, the other numbers at least 1")
    described = machine(*PACKAGES)
    with mistakes_in_one_line(), tempfile.TemporaryDirectory() as folder:
        result = live(Path(folder), given.rows, given.dimension, threads=given.threads)
    table = Table("step", title=f"{given.rows:,} x {given.dimension}-d, index {result['dtype']}")
    for heading in ("seconds", "queries/s", "recall@10", "own MiB", "peak MiB"):
        table.add_column(heading, justify="right")
    for row in result["steps"]:
        table.add_row(
            row["step"],
            f"{row['seconds']:.2f}",
            f"{row['queries_per_sec']:,.0f}" if "queries_per_sec" in row else "",
            f"{row['recall_at_10']:.4f}" if "recall_at_10" in row else "",
            "" if row["own_bytes"] is None else f"{row['own_bytes'] / 2**20:,.0f}",
            f"{row['peak_rss_bytes'] / 2**20:,.0f}",
        )
    Console().print(table)
    print(json.dumps({"machine": described, **result}))


if __name__ == "__main__":
    main()
