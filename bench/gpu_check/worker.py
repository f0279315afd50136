"""The process that one contender lives in: prepares batches and times calls, as it is asked.

In: a `Job` as JSON on the command line, then one request a line on stdin. Out: one answer a line on stdout, and nothing
else there: what libraries print goes to stderr.

    {"prepare": 32}                               -> {"prepared_s": ..., "precision": ..., "has_run_alone": ...}
    {"time": 10, "copies": "inside"}              -> {"seconds": [...]}
    anything that fails                           -> {"failed": "..."}
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from bench.gpu_check.contenders import Calls, Images, Job, Unfit, open_contender

_MEETINGS = 3  # runs before any is timed: the first compile, pick kernels or record a graph


def serve(job: Job, requests: TextIO, answers: TextIO) -> None:
    """Answer until the requests end."""

    def answer(document: dict[str, Any]) -> None:
        print(json.dumps(document), file=answers, flush=True)

    try:
        start = time.perf_counter()
        prepare = open_contender(job.contender).load(job)
        answer({"loaded_s": time.perf_counter() - start})
    except Exception as error:  # whatever its libraries raise
        answer({"failed": _said(error)})
        return
    calls: Calls | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if "prepare" in request:
                calls = None  # its buffers go before the next ones come
                calls, document = _prepared(prepare, job, request["prepare"])
            else:
                assert calls is not None, "nothing was prepared"
                document = {"seconds": _timed(calls, request["copies"], request["time"])}
        except Exception as error:
            document = {"failed": _said(error)}
        answer(document)


def _prepared(prepare: Callable[[Images], Calls], job: Job, batch: int) -> tuple[Calls, dict[str, Any]]:
    start = time.perf_counter()
    images = np.random.default_rng(0).integers(0, 256, (batch, *job.shape), np.uint8)
    calls = prepare(images)
    for _ in range(_MEETINGS):
        vectors = calls.with_copies()
        if calls.without_copies is not None:
            calls.without_copies()
    if len(vectors) != batch or not np.isfinite(vectors).all():
        raise ValueError(f"gave {list(vectors.shape)} for {batch} images, or values that are not finite")
    return calls, {
        "prepared_s": time.perf_counter() - start,
        "precision": calls.precision,
        "threads": calls.threads,
        "has_run_alone": calls.without_copies is not None,
    }


def _timed(calls: Calls, copies: str, count: int) -> list[float]:
    call = calls.with_copies if copies == "inside" else calls.without_copies
    assert call is not None, "it has no run without copies"
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def _said(error: Exception) -> str:
    if isinstance(error, Unfit):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def main() -> None:
    """Serve the job on the command line."""
    job = Job(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(job, sys.stdin, answers)


if __name__ == "__main__":
    main()
