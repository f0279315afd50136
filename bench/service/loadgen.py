"""MLPerf's Server scenario through HTTP: the highest rate of single pictures whose p99 holds, by MLPerf's own LoadGen.

In: a model. Out: the time of a single picture when nothing else goes on, the bound that is 5 times that, the highest
Poisson rate under it and how it was found, and how the answers agree with the encoder's. The same beside it for the
batcher in LoadGen's own process, under the same bound: what HTTP costs at rates that are held.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.scenarios.contenders import Asked
from bench.scenarios.fresh import measure_fresh
from bench.scenarios.measuring import Job
from bench.service.pictures import model_file
from bench.service.serving import Serving

TIMES_ALONE = 5.0
_MEDIAN = "50.00 percentile latency (ns)"
_NUM_ACCURACY = 64


def measure(
    model: str, *, seconds: float, threads: int, backend: str, num_images: int = 256, is_beside: bool = True
) -> dict[str, Any]:
    """The document; `seconds` of a timed run and of each rate that is tried. Raises RunFailed, RuntimeMissing."""
    file = model_file(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ["--model", str(file), "--threads", str(threads), "--backend", backend]
        with Serving(arguments, log=folder / "server.log") as serving:

            def run(contender: str, scenario: str, latency_ms: float) -> dict[str, Any]:
                return measure_fresh(
                    Job(
                        scenario=scenario,
                        asked=Asked(
                            contender=contender, model=file, backend=backend, threads=threads, form="encoded",
                            num_images=num_images, port=serving.port,
                        ),
                        folder=folder / contender / scenario,
                        seconds=seconds,
                        latency_ms=latency_ms,
                        num_accuracy=_NUM_ACCURACY,
                    )
                )  # fmt: skip

            found: dict[str, Any] = {}
            bound_ms = 0.0
            for contender in ("service", "batcher") if is_beside else ("service",):
                alone = run(contender, "SingleStream", 1.0)
                alone_ms = alone["summary"]["figures"][_MEDIAN] / 1e6
                bound_ms = bound_ms or TIMES_ALONE * alone_ms
                server = run(contender, "Server", bound_ms)
                found[contender] = {"alone_ms": alone_ms, **server, "accuracy_alone": alone["accuracy"]}
            status = serving.stop()
    return {
        "model": file.name,
        "threads": threads,
        "bound_ms": bound_ms,
        "asked": f"p99 under {TIMES_ALONE:g} times the median of a single picture over HTTP, and right answers",
        "contenders": found,
        "holds": all(
            each["accuracy"]["holds"] and each["accuracy_alone"]["holds"] and each["value"] is not None
            for each in found.values()
        ),
        "server_exit_status": status,
    }
