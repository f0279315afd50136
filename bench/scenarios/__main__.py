"""MLPerf's scenarios over exported models, by MLPerf's own LoadGen, without and with decoding.

    python -m bench.scenarios siamese
    python -m bench.scenarios mobilenet.onnx mobilenet.int8.onnx --backend openvino --samples both --seconds 10
    python -m bench.scenarios resnet101.onnx --backend cuda --official --latency-ms 15 --out runs/resnet101
    python -m bench.scenarios --self-check

MLPerf times a network alone: its samples are decoded before. Users wait for the decoding too, so each scenario is
measured both ways, from the same files. Each is a process of its own, with its threads fixed, warm before LoadGen
starts. LoadGen's verdict, figures and logs are its own; after each timed run another one logs the answers, which are
held against the encoder's embeddings, and where they differ the status is 1. Runs are short unless --official is
given; LoadGen calls those invalid that have too few queries for their percentile. The last line on stdout is one JSON
document.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line
from bench.scenarios.check import check
from bench.scenarios.contenders import Asked
from bench.scenarios.fresh import measure_fresh
from bench.scenarios.measuring import Job
from bench.scenarios.samples import FORMS
from bench.scenarios.scenario import OFFICIAL_IMAGES, PACKAGE, SAMPLES_PER_QUERY, SCENARIOS, import_loadgen
from semblance.inference.backends import names
from semblance.inference.models import find_model

_SHORT_IMAGES, _SHORT_ACCURACY = 256, 64
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "numpy", "opencv-python-headless", PACKAGE)


def measure_all(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A document for each model, scenario and form of the samples. Raises RunFailed at the first that has none."""
    models = [find_model(each) for each in given.models]  # a wrong name is told before any work
    forms = FORMS if given.samples == "both" else (given.samples,)
    return [
        measure_fresh(
            Job(
                scenario=scenario,
                asked=Asked(
                    model=model,
                    backend=given.backend,
                    threads=given.threads,
                    streams=given.streams,
                    max_batch=given.max_batch,
                    form=form,
                    num_images=given.images,
                ),
                folder=folder / model.stem / form / scenario,
                seconds=given.seconds,
                is_official=given.official,
                latency_ms=given.latency_ms,
                num_accuracy=given.images if given.official else _SHORT_ACCURACY,
            )
        )
        for model in models
        for form in forms
        for scenario in given.scenarios
    ]


def show(results: list[dict[str, Any]]) -> None:
    """The table for people."""
    table = Table(title="MLPerf's scenarios, measured by LoadGen")
    for heading in ("model", "backend", "scenario", "samples", "metric", "value", "valid", "queries", "right answers"):
        table.add_column(heading, justify="right" if heading in ("value", "queries", "right answers") else "left")
    for each in results:
        accuracy = each["accuracy"]
        bound = f" <= {each['latency_bound_ms']:g} ms" if each["latency_bound_ms"] else ""
        value = "none" if each["value"] is None else f"{each['value']:,.3f} {each['unit']}"
        num_right = accuracy["num_samples"] - accuracy["num_wrong"] - accuracy["num_missing"]
        table.add_row(f"{each['model']} {each['precision']}", each["backend"], each["scenario"], each["samples"],
                      f"{each['metric']}{', p99' if bound else ''}{bound}", value, "yes" if each["is_valid"] else "no",
                      f"{each['num_queries']:,}", f"{num_right} of {accuracy['num_samples']}")  # fmt: skip
    Console(width=150).print(table)


def show_check(lines: list[dict[str, Any]]) -> None:
    """The claims, for people."""
    table = Table("scenario", "claim", "found", "holds", title="does the harness tell the truth?")
    for each in lines:
        table.add_row(each["scenario"], each["claim"], each["found"], "yes" if each["holds"] else "NO")
    Console(width=150).print(table)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scenarios", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models by name, or ONNX files")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--samples", default="both", choices=[*FORMS, "both"], help="whether decoding is inside")
    parser.add_argument("--backend", default="cpu", choices=names())
    parser.add_argument("--threads", type=int, default=2, help="of the backend, and as many that decode")
    parser.add_argument("--streams", type=int, default=1, help="batches at the same time")
    parser.add_argument("--max-batch", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a timed run, and of each of Server's tries")
    parser.add_argument("--latency-ms", type=float, default=15.0, help="the bound of Server's p99")
    parser.add_argument("--images", type=int, default=None, help="samples in memory (256, official 1,024)")
    parser.add_argument("--official", action="store_true", help="ten minutes a run, by MLPerf's rules for ResNet-50")
    parser.add_argument("--out", type=Path, default=None, help="folder for LoadGen's logs (a temporary one)")
    parser.add_argument("--self-check", action="store_true", help="measure systems whose results are known")
    given = parser.parse_args()
    given.images = given.images or (OFFICIAL_IMAGES if given.official else _SHORT_IMAGES)
    if bool(given.models) == given.self_check:
        parser.error("give models, or --self-check alone")
    if min(given.threads, given.streams, given.max_batch or 1) < 1:
        parser.error("--threads, --streams and --max-batch must be at least 1")
    if min(given.seconds, given.latency_ms) <= 0:
        parser.error("--seconds and --latency-ms must be above 0")
    least = OFFICIAL_IMAGES if given.official else SAMPLES_PER_QUERY
    if given.images < least:
        parser.error(f"--images must be at least {least}")
    return given


def main() -> None:
    """Measure what the command line asks for; status 1 where an answer was wrong or a claim does not hold."""
    given = parsed()
    with mistakes_in_one_line():
        import_loadgen()
        described = machine(
            *filter(_is_installed, _PACKAGES)
        )  # before the measurement, whose own load it must not show
        folder = given.out or Path(tempfile.mkdtemp(prefix="semblance-scenarios-"))
        results = check(folder, seconds=given.seconds) if given.self_check else measure_all(given, folder)
    (show_check if given.self_check else show)(results)
    print(json.dumps({"machine": described, "logs": str(folder), "results": results}))
    if not all(each["holds"] if given.self_check else each["accuracy"]["holds"] for each in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
