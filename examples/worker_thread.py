"""A queue's workers, as Celery's or RQ's threads are, that share one model: each takes a job, waits, stores the vector.

What their jobs wait for at the same time is embedded together. A job that cannot be done is marked and never stops its
worker; where too many images are pending the worker waits, which slows the queue down by itself.

    python examples/worker_thread.py photos/
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance import Batcher, Encoder, Overloaded, SemblanceError

Results = dict[str, list[float] | str]


def work(jobs: queue.Queue[Path | None], batcher: Batcher, results: Results) -> None:
    """What each worker does until it gets None."""
    while (path := jobs.get()) is not None:
        try:
            results[path.name] = embed(batcher, path.read_bytes()).tolist()
        except (SemblanceError, OSError) as error:  # no picture, too late, not embedded; not to be read
            results[path.name] = f"{type(error).__name__}: {error}"


def embed(batcher: Batcher, image: bytes) -> NDArray[np.float32]:
    """The vector [D] of an encoded picture, also where others are many."""
    while True:
        try:
            return batcher.submit(image, timeout_s=30).result()
        except Overloaded:
            time.sleep(0.1)


def run(paths: Iterable[Path], num_workers: int = 8) -> Results:
    """All jobs, through all workers."""
    jobs: queue.Queue[Path | None] = queue.Queue()
    results: Results = {}
    with Batcher(Encoder.load("siamese", spinning=False), max_pending_images=64) as batcher:
        workers = [threading.Thread(target=work, args=(jobs, batcher, results)) for _ in range(num_workers)]
        for worker in workers:
            worker.start()
        for path in paths:
            jobs.put(path)
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            worker.join()
    return results


if __name__ == "__main__":
    for name, result in sorted(run(Path(sys.argv[1]).iterdir()).items()):
        print(name, result if isinstance(result, str) else result[:3])
