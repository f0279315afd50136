"""The engine beside PyTorch and Keras on JAX, on the same network, batch sizes and device, in the same minutes.

In: a model, a time budget. Out: rows, and for each contender that is not there why. Each lives in a fresh process with
its own device memory; they take turns, so that never two of them compute at the same time. Compiling is not timed, but
bounded: a contender that has used up its time for it is out, and that is a row.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu_check.contenders import Job, missing, names, open_contender
from bench.gpu_check.setting import Setting
from bench.gpu_check.speed import Budget, figures_of
from bench.gpu_check.subjects import Subject
from semblance.inference.backends.wheels import version_of

_ROOT = Path(__file__).parents[2]
_TURN_S = 0.1
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 200
_LOAD_S = 120.0  # to import and to build a network


class WorkerFailed(Exception):
    """A contender's process that gave no answer, or said that it failed."""


def jobs(
    subject: Subject, *, backend: str, max_batch: int, setting: Setting | None, only: Sequence[str] | None = None
) -> tuple[list[Job], dict[str, str]]:
    """A job for each variant of each contender that is installed, and for the others why they are not here."""
    found, absent = [], {}
    for name in names() if only is None else only:
        contender = open_contender(name)
        for title, options in contender.VARIANTS.items():
            if reason := missing(contender):
                absent[title] = reason
                continue
            found.append(
                Job(
                    contender=name,
                    title=title,
                    options=options,
                    architecture=subject.card.architecture,
                    shape=(subject.card.height, subject.card.width, subject.card.channels),
                    model_name=subject.name,
                    model=str(subject.path),
                    half=str(subject.half) if subject.half else None,
                    backend=backend,
                    max_batch=max_batch,
                    setting=setting.as_json() if setting else {},
                )
            )
    return found, absent


def command(job: Job) -> list[str]:
    """What starts its process, from the root of the checkout."""
    return [sys.executable, "-m", "bench.gpu_check.worker", json.dumps(job.as_json())]


def environment(job: Job) -> dict[str, str]:
    """Of its process."""
    return {**os.environ, **open_contender(job.contender).ENVIRONMENT}


class Worker:
    """A contender's process, asked one thing at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            command(job), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=_ROOT,
            env=environment(job),
        )  # fmt: skip
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, request: Mapping[str, Any] | None, timeout_s: float) -> dict[str, Any]:
        """The answer; None asks nothing and waits until it has loaded. Raises WorkerFailed."""
        try:
            if request is not None:
                assert self._process.stdin is not None  # it was asked for
                print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise WorkerFailed(f"not ready within {timeout_s:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            raise WorkerFailed(f"its process ended: {self._last_words()}")
        document: dict[str, Any] = json.loads(line)
        if "failed" in document:
            raise WorkerFailed(document["failed"])
        return document

    def stop(self) -> None:
        """End its process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None  # all were asked for
            try:
                stream.close()
            except OSError:  # of a request that nobody reads any more
                continue

    def _read(self) -> None:
        assert self._process.stdout is not None  # it was asked for
        try:
            for line in self._process.stdout:
                self._answers.put(line)
        except ValueError:
            return  # closed by `stop`
        self._answers.put("")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:300] if lines else "without a word"


def race(
    job_list: Sequence[Job], batches: Sequence[int], *, seconds: float, compile_seconds: float
) -> list[dict[str, Any]]:
    """Rows of all contenders at all batch sizes, those that failed too.

    `seconds` are for measuring; each contender has `compile_seconds` times the batch sizes for getting ready besides.
    """
    rows = list[dict[str, Any]]()
    workers: list[Worker] = []
    try:
        for job in job_list:
            workers.append(Worker(job))
            _try(workers[-1], workers, None, _LOAD_S, rows, None)
        left_s = {worker: compile_seconds * len(batches) for worker in workers}
        for batch in batches:
            _one_batch(workers, batch, seconds / len(batches), left_s, rows)
    finally:
        for worker in workers:
            worker.stop()
    return rows


def _one_batch(
    workers: list[Worker], batch: int, seconds: float, left_s: dict[Worker, float], rows: list[dict[str, Any]]
) -> None:
    prepared: dict[Worker, dict[str, Any]] = {}
    for worker in list(workers):
        if (answer := _try(worker, workers, {"prepare": batch}, left_s[worker], rows, batch)) is not None:
            prepared[worker] = answer
            left_s[worker] = max(0.0, left_s[worker] - answer["prepared_s"])
    turns = [(worker, "inside") for worker in prepared]
    turns += [(worker, "outside") for worker, answer in prepared.items() if answer["has_run_alone"]]
    for (worker, copies), times in _in_turns(turns, seconds, workers, rows, batch).items():
        rows.append(_row(worker.job, batch, copies, prepared[worker]) | figures_of(times, batch))


def _in_turns(
    turns: Sequence[tuple[Worker, str]], seconds: float, workers: list[Worker], rows: list[dict[str, Any]], batch: int
) -> dict[tuple[Worker, str], list[float]]:
    """Seconds of each call of those that answer to the end."""
    sizes, times = {}, {}
    for worker, copies in turns:
        if (once := _try(worker, workers, {"time": 3, "copies": copies}, _LOAD_S, rows, batch)) is not None:
            sizes[worker, copies] = max(1, round(_TURN_S / max(1e-6, float(np.median(once["seconds"])))))
            times[worker, copies] = list[float]()
    budget, number = Budget(seconds), 0
    while times and number < _MOST_ROUNDS and (number < _LEAST_ROUNDS or budget.left_s > 0):
        first = number % len(times)
        for worker, copies in [*times][first:] + [*times][:first]:
            if (worker, copies) not in times:
                continue  # it failed in this round
            request = {"time": sizes[worker, copies], "copies": copies}
            if (answer := _try(worker, workers, request, _LOAD_S, rows, batch)) is None:
                times = {key: each for key, each in times.items() if key[0] is not worker}
            else:
                times[worker, copies] += answer["seconds"]
        number += 1
    return times


def _try(
    worker: Worker,
    workers: list[Worker],
    request: Mapping[str, Any] | None,
    limit_s: float,
    rows: list[dict[str, Any]],
    batch: int | None,
) -> dict[str, Any] | None:
    """Its answer; None where it failed, which is a row, and the end of it."""
    if worker not in workers:
        return None
    try:
        return worker.ask(request, limit_s)
    except WorkerFailed as error:
        rows.append(_row(worker.job, batch, "inside", {}) | {"failed": str(error)})
        workers.remove(worker)
        worker.stop()
        return None


def _row(job: Job, batch: int | None, copies: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": job.model_name,
        "contender": job.title,
        "batch": batch,
        "copies": copies,
        "precision": answer.get("precision"),
        "threads": answer.get("threads"),
        "prepared_s": answer.get("prepared_s"),
        "runtime": ", ".join(map(_with_version, open_contender(job.contender).PACKAGES)),
    }


def _with_version(package: str) -> str:
    """ONNX Runtime's package comes in several wheels, of which one is installed."""
    return f"{package} {version_of(package) or version_of(f'{package}-gpu')}"
