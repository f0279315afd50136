"""How many images a second come through the service when it is never idle, against the engine fed in process.

In: a model, and how many images a request has. Out: for each such number the rate over how many requests are in
flight, up to where it rises no more; and there the ratio to a batcher in process, with the same JPEG bytes and as many
images outstanding, in turns. The client is a process of its own on the same processors, as a service's clients here
must be: its own processor time is told, since the engine in process does without it.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.report.figures import Estimate, estimate
from bench.service import in_process
from bench.service.client import run_plan
from bench.service.load import RIGHT, WRONG, Piece, Plan, Seen
from bench.service.pictures import Pictures, model_file, pictures_for
from bench.service.processes import Helper
from bench.service.serving import Serving
from bench.service.wire import embed_request
from semblance.errors import BackendError

LEAST_RATIO = 0.85
_RISES = 1.03  # a rate that is higher by less is flat
_MOST_OUTSTANDING = 1024  # images, as the service's own bound
_TURN, _STEP = 6.0, 4.0  # how often every outstanding image is answered in a turn, and in a step of the sweep
_LONGEST_S = 60.0
_SWEPT = 0.5  # of a turn's seconds: how long each step of the sweep is
_FULL = 32  # outstanding images: a batch of the largest size, without which nothing is saturated
_ENOUGH = 64  # outstanding images: two full batches, below which a rate that does not rise may yet rise


def measure(
    model: str, *, images: list[int], rounds: int, seconds: float, threads: int, backend: str, num_pictures: int = 256
) -> dict[str, Any]:
    """The document of one model. Raises BackendError, SourceError."""
    file = model_file(model)
    pictures = pictures_for(file, num_pictures, backend=backend, threads=threads)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["--model", str(file), "--threads", str(threads), "--backend", backend]
        with (
            Serving(arguments, log=Path(scratch, "server.log")) as serving,
            Helper(run_plan, name="client") as client,
            Helper(in_process.work, name="engine in process") as engine,
        ):
            load = in_process.Load(model=file, backend=backend, threads=threads, pictures=pictures.encoded)
            described = engine.ask(load)
            lines = [_Line(serving, client, engine, pictures, each, seconds).measured(rounds) for each in images]
            status = serving.stop()
    return {
        "model": file.name,
        "description": described,
        "threads": threads,
        "pictures": pictures.described,
        "asked": f"at least {LEAST_RATIO:g} of the engine in process",
        "lines": lines,
        "holds": all(each["holds"] for each in lines),
        "server_exit_status": status,
    }


class _Line:
    """Requests with one number of images."""

    def __init__(
        self, serving: Serving, client: Helper, engine: Helper, pictures: Pictures, images: int, seconds: float
    ) -> None:
        self._serving, self._client, self._engine = serving, client, engine
        self._images, self._seconds = images, seconds
        self._tolerance = pictures.tolerance
        self._pieces = tuple(pieces(pictures, images))

    def measured(self, rounds: int) -> dict[str, Any]:
        """Its line."""
        sweep = self._swept()
        full = [each for each in sweep if each["concurrency"] * self._images >= _FULL]
        most = max(float(each["images_per_s"]) for each in full)
        best = next(each for each in full if each["images_per_s"] * _RISES >= most)  # more would only wait longer
        concurrency, seconds = best["concurrency"], self._long_enough(best["concurrency"], best["images_per_s"], _TURN)
        theirs, ours = list[dict[str, Any]](), list[dict[str, Any]]()
        for number in range(rounds):
            if number % 2:
                ours.append(self._in_process(concurrency, seconds))
            theirs.append(self._over_http(concurrency, seconds))
            if not number % 2:
                ours.append(self._in_process(concurrency, seconds))
        ratio = estimate([a["images_per_s"] / b["images_per_s"] for a, b in zip(theirs, ours, strict=True)])
        return {
            "images_per_request": self._images,
            "concurrency": concurrency,
            "outstanding_images": concurrency * self._images,
            "sweep": sweep,
            "service_images_per_s": asdict(estimate([each["images_per_s"] for each in theirs])),
            "in_process_images_per_s": asdict(estimate([each["images_per_s"] for each in ours])),
            "ratio": asdict(ratio),
            "client_cpu_share": sum(each["client_cpu_s"] for each in theirs) / sum(each["seconds"] for each in theirs),
            "server_cpu_share": sum(each["server_cpu_s"] for each in theirs) / sum(each["seconds"] for each in theirs),
            "holds": is_enough(ratio),
            "service_rounds": theirs,
            "in_process_rounds": ours,
        }

    def _swept(self) -> list[dict[str, Any]]:
        """Rates at twice as many requests in flight each time, until two steps bring no more."""
        found: list[dict[str, Any]] = []
        concurrency, num_flat, best = 1, 0, 0.0
        while concurrency * self._images <= _MOST_OUTSTANDING and num_flat < 2:
            seconds = self._long_enough(concurrency, best, _STEP) if best else self._seconds
            found.append(self._over_http(concurrency, _SWEPT * seconds))
            rate = found[-1]["images_per_s"]
            is_flat = rate < best * _RISES and concurrency * self._images >= _ENOUGH
            num_flat = num_flat + 1 if is_flat else 0
            best = max(best, rate)
            concurrency *= 2
        return found

    def _long_enough(self, concurrency: int, images_per_s: float, times: float) -> float:
        """Seconds in which every outstanding image is answered `times` over; else begin and end are all there is."""
        return min(_LONGEST_S, max(self._seconds, times * concurrency * self._images / images_per_s))

    def _over_http(self, concurrency: int, seconds: float) -> dict[str, Any]:
        before = self._serving.cpu_s()
        plan = Plan(
            port=self._serving.port,
            groups=((1.0, self._pieces),),
            seconds=seconds,
            tolerance=self._tolerance,
            concurrency=concurrency,
        )
        seen: Seen = self._client.ask(plan)
        _check(seen)
        return {
            "concurrency": concurrency,
            "seconds": seen.seconds,
            "images_per_s": seen.images_per_s(),
            "client_cpu_s": seen.cpu_s,
            "server_cpu_s": self._serving.cpu_s() - before,
        }

    def _in_process(self, concurrency: int, seconds: float) -> dict[str, Any]:
        found: in_process.Embedded = self._engine.ask(in_process.Outstanding(concurrency, self._images, seconds))
        return asdict(found)


def is_enough(ratio: Estimate) -> bool:
    """Whether it is so also at the lower end of the interval."""
    return (ratio.interval.low if ratio.interval else ratio.value) >= LEAST_RATIO


def pieces(pictures: Pictures, images: int) -> list[Piece]:
    """Requests with so many images each, which begin at many of the pictures."""
    found = []
    for start in range(0, len(pictures), max(1, images // 4)):  # all of them would be a hundred megabytes
        numbers = [(start + place) % len(pictures) for place in range(images)]
        content = embed_request([pictures.encoded[number] for number in numbers])
        found.append(Piece(content, "embed", images, pictures.expected(numbers)))
    return found


def _check(seen: Seen) -> None:
    """Raises BackendError where not every answer was right: then nothing was measured."""
    num_right = int((seen.verdict == RIGHT).sum())
    if num_right < len(seen):
        num_wrong = int((seen.verdict == WRONG).sum())
        raise BackendError(
            f"{num_right} of {len(seen)} requests were answered with the right vectors, {num_wrong} with wrong ones; "
            f"statuses {sorted(set(seen.status.tolist()))}: {'; '.join(seen.examples[:3])}"
        )
