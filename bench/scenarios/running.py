"""One run of LoadGen over a system, with its logs in a folder.

In: a contender, settings and a folder. Out: when it returns, LoadGen's files lie there and every query has been
answered once. Where the system fails, `on_failure` is told and this never returns, since LoadGen waits for its answers
and cannot be stopped; so it runs in a thread of a process that ends then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scenarios.contenders import Contender
from bench.scenarios.logs import read_errors
from bench.scenarios.system import InFlight, InPlace, OnFailure, Queued

_BATCHES_AT_ONCE = 16  # of Offline: enough to decode ahead of the network, while embeddings of all need not fit at once


@dataclass(frozen=True, slots=True)
class Run:
    """Where the logs of a run are, and what the system saw of it."""

    folder: Path
    num_samples: int  # asked for, and answered
    mean_batch: float | None  # of what the workers took at a time, where there is a queue
    has_trace: bool  # without, the latencies of single queries are nowhere


def run(
    loadgen: Any,
    contender: Contender,
    settings: Any,
    folder: Path,
    *,
    is_queued: bool,
    has_trace: bool,
    on_failure: OnFailure,
) -> Run:
    """Run LoadGen to its end. Raises RuntimeError where it logged an error or queries and answers are not as many."""
    folder.mkdir(parents=True, exist_ok=True)
    logging = loadgen.LogSettings()
    logging.enable_trace = has_trace
    logging.log_output.outdir = str(folder)
    logging.log_output.copy_summary_to_stdout = False  # whose last line is our document
    system: InPlace | InFlight | Queued
    if is_queued:
        system = (Queued if contender.begin is None else InFlight)(contender, loadgen, on_failure)
    else:
        system = InPlace(contender, loadgen, on_failure, at_once=_BATCHES_AT_ONCE * contender.max_batch)
    num_samples = len(contender.samples)
    sut = loadgen.ConstructSUT(system.issue, _nothing)
    library = loadgen.ConstructQSL(num_samples, num_samples, _nothing, _nothing)  # all samples are in memory already
    loadgen.StartTestWithLogSettings(sut, library, settings, logging)
    system.close()
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(sut)
    if errors := read_errors(folder):
        raise RuntimeError(f"LoadGen: {'; '.join(errors)}")
    if system.num_issued != system.num_answered:
        raise RuntimeError(f"{system.num_issued} samples were asked for and {system.num_answered} answered")
    batches = system.batch_sizes if isinstance(system, Queued) else []
    return Run(folder, system.num_answered, sum(batches) / len(batches) if batches else None, has_trace)


def _nothing(*_: Any) -> None:
    """What LoadGen calls where there is nothing to do."""
