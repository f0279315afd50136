"""What HTTP costs one caller: a picture embedded over loopback against the same call in process, in turns.

In: a model and how many rounds. Out: percentiles of each way, and the differences of the rounds' medians with their
interval. Three processes: the client, `semblance serve`, and the engine without it; two of them idle while the third
is measured, and each round has all three, so that what slows the machine down slows all of them.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.report.figures import estimate
from bench.service import in_process, one_by_one
from bench.service.load import quantiles_ms
from bench.service.pictures import model_file, pictures_for
from bench.service.processes import Helper
from bench.service.serving import Serving
from bench.service.wire import embed_request

MOST_MORE_MS = 2.0  # what is asked: p50 over HTTP less p50 of the call, also at the far end of its interval
WAYS = ("service", "batcher", "encoder")
_WARM_CALLS = 200


def measure(
    model: str, *, rounds: int, calls: int, threads: int, backend: str, num_pictures: int = 256
) -> dict[str, Any]:
    """The document. Raises BackendError, SourceError."""
    file = model_file(model)
    pictures = pictures_for(file, num_pictures, backend=backend, threads=threads)
    requests = [embed_request([each]) for each in pictures.encoded]
    expected = [pictures.expected([number]) for number in range(len(pictures))]
    seconds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["--model", str(file), "--threads", str(threads), "--backend", backend]
        with (
            Serving(arguments, log=Path(scratch, "server.log")) as serving,
            Helper(one_by_one.work, name="client") as client,
            Helper(in_process.work, name="engine in process") as engine,
        ):
            described = engine.ask(
                in_process.Load(model=file, backend=backend, threads=threads, pictures=pictures.encoded)
            )

            def ask(way: str, num: int, first: int) -> list[float]:
                found: list[float]
                if way == "service":
                    task = one_by_one.Requests(serving.port, requests, expected, pictures.tolerance, num, first)
                    found = client.ask(task)
                else:
                    found = engine.ask(in_process.OneByOne(num, way, first))
                return found

            for way in WAYS:
                ask(way, min(_WARM_CALLS, 10 * calls), 0)
            for number in range(rounds):
                for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                    seconds[way].append(ask(way, calls, number * calls))
            status = serving.stop()
    return {
        "model": file.name,
        "description": described,
        "threads": threads,
        "pictures": pictures.described,
        "rounds": rounds,
        "calls": calls,
        **_figures(seconds),
        "server_exit_status": status,
    }


def _figures(seconds: dict[str, list[list[float]]]) -> dict[str, Any]:
    medians = {way: np.array([1e3 * float(np.median(one)) for one in rounds]) for way, rounds in seconds.items()}
    more: dict[str, dict[str, Any]] = {
        f"service_less_{way}_ms": asdict(estimate((medians["service"] - medians[way]).tolist()))
        for way in WAYS
        if way != "service"
    }
    highest = max(found["interval"]["high"] if found["interval"] else found["value"] for found in more.values())
    return {
        "ways": {way: quantiles_ms(np.concatenate(rounds)) for way, rounds in seconds.items()},
        **more,
        "asked": f"p50 over HTTP at most {MOST_MORE_MS:g} ms above that of the call, of either",
        "holds": bool(highest <= MOST_MORE_MS),
        "medians_ms": {way: [round(each, 4) for each in found.tolist()] for way, found in medians.items()},
    }
