"""One run of the whole benchmark into one result file: races, scenarios, stages, retrieval, and the harness checked.

In: how thorough to be, and which parts. Out: a file of records. Exports that are missing are made first, so that none
runs while something is timed. A part that fails is told and leaves what the others have.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench import mistakes_in_one_line
from bench.records import RESULTS, Record, Writer, read
from bench.subjects import PRECISIONS, subject, subjects
from bench.suites.plan import Profile
from semblance.errors import SemblanceError
from semblance.files import write_whole
from semblance.instructions import processor_name

SUITES = ("latency", "throughput", "end_to_end", "index", "matching", "start_up")
PARTS = ("races", "scenarios", "stages", "originals", "check")

_PACKAGES = (
    "numpy", "onnxruntime", "openvino", "tensorflow", "keras", "usearch", "faiss-cpu", "hnswlib", "scikit-learn",
    "opencv-python-headless", "mlcommons-loadgen",
)  # fmt: skip
_FOLDER = Path(__file__).parent
_console = Console(stderr=True, highlight=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m bench run`."""
    parser.add_argument("--full", action="store_true", help="all batch sizes, data sets and models; hours, not minutes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, metavar="PART",
                        help=f"of: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=SUITES, metavar="SUITE",
                        help=f"races of: {', '.join(SUITES)}")  # fmt: skip
    parser.add_argument("-k", dest="only", default=None, metavar="EXPRESSION", help="races by name, as pytest's -k")
    parser.add_argument("--threads", type=int, default=2, help="of each contender")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE.jsonl",
                        help="the result file (default: in bench/results, by date and processor)")  # fmt: skip
    parser.add_argument("--page", type=Path, default=None, metavar="DIR", help="make the report's page there as well")


def main(given: argparse.Namespace) -> int:
    """Run the parts; 1 where an answer was wrong, a claim does not hold or a part failed."""
    profile: Profile = "full" if given.full else "quick"
    path = given.out or _new_path(RESULTS, profile)
    with mistakes_in_one_line():
        writer = Writer.begin(path, profile=profile, threads=given.threads, packages=_PACKAGES)
    parts: dict[str, Callable[[], bool]] = {
        "races": lambda: _races(given, profile, path),
        "scenarios": lambda: _scenarios(given.threads, profile, writer.append),
        "stages": lambda: _stages(given.threads, profile, writer.append),
        "originals": lambda: _originals(given.threads, profile, writer.append),
        "check": lambda: _check(profile, writer.append),
    }
    started, failed = time.perf_counter(), []
    for name in given.parts:
        begun = time.perf_counter()
        try:
            holds = parts[name]()
        except SemblanceError as error:
            _console.print(f"error: {name}: {' '.join(str(error).split())}")
            holds = False
        except Exception:  # a mistake of ours; hours of the other parts are not lost for it
            _console.print_exception()
            holds = False
        if not holds:
            failed.append(name)
        _console.print(f"{name}: {time.perf_counter() - begun:.0f} s")
    counts = _counts(path)
    told = f"{path}: {sum(counts.values())} records in {time.perf_counter() - started:.0f} s"
    _console.print(told + (f"; something was wrong in {', '.join(failed)}" if failed else ""))
    if given.page is not None:
        from bench.report.page import page

        given.page.mkdir(parents=True, exist_ok=True)
        write_whole(given.page / "report.html", page(read(path), has_pictures=True).encode())
        _console.print(f"{given.page / 'report.html'}: the same as a page")
    print(json.dumps({"results": str(path), "records": counts, "failed": failed}))
    return 1 if failed else 0


def _new_path(folder: Path, profile: Profile) -> Path:
    """By day and processor, and by number from the second one of a day: no run takes another's place."""
    processor = re.sub(r"[^a-z0-9]+", "-", processor_name().lower()).strip("-")
    name = f"{datetime.date.today().isoformat()}-{processor or 'unknown'}-{profile}"
    paths = (folder / f"{name}{f'-{number}' if number > 1 else ''}.jsonl" for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


def _counts(path: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in read(path).records:
        counts[each["kind"]] = counts.get(each["kind"], 0) + 1
    return counts


# ------------------------------------------------------------------------------------------------------------------
# The parts: each emits its records and says whether all was right


def _races(given: argparse.Namespace, profile: Profile, path: Path) -> bool:
    for model in subjects().values():
        for precision in PRECISIONS:
            if (reason := model.ensure(precision, is_full=profile == "full", say=_console.print)) is not None:
                _console.print(f"no {model.name} in {precision}: {reason}")
    files = [str(_FOLDER / "suites" / f"test_{suite}.py") for suite in given.suites]
    options = ["--profile", profile, "--threads", str(given.threads), "--results", str(path)]
    shown = ["--benchmark-columns", "median,iqr,rounds", "--benchmark-sort", "name", "-p", "no:cacheprovider", "-q"]
    selection = ["-k", given.only] if given.only else []
    status = pytest.main([*files, *options, *shown, *selection, "--rootdir", str(_FOLDER.parent)])
    return status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def _scenarios(threads: int, profile: Profile, emit: Callable[[Record], None]) -> bool:
    from bench.scenarios.contenders import Asked
    from bench.scenarios.fresh import measure_fresh
    from bench.scenarios.measuring import Job
    from bench.scenarios.samples import FORMS
    from bench.scenarios.scenario import SCENARIOS, import_loadgen

    import_loadgen()
    is_full, all_right = profile == "full", True
    chosen = {"siamese": ("fp32", "int8"), "mobilenet": ("fp32", "int8")} if is_full else {"siamese": ("int8",)}
    with tempfile.TemporaryDirectory() as folder:
        for name, precisions in chosen.items():
            for precision in precisions:
                model = subject(name)
                if (reason := model.ensure(precision, is_full=is_full, say=_console.print)) is not None:
                    _console.print(f"no scenarios of {name} in {precision}: {reason}")
                    continue
                for form in FORMS:
                    for scenario in SCENARIOS:
                        asked = Asked(model=model.path(precision), backend="cpu", threads=threads, form=form)
                        logs = Path(folder, name, precision, form, scenario)
                        job = Job(scenario=scenario, asked=asked, folder=logs, seconds=2.0 if is_full else 1.0)
                        document = measure_fresh(job)
                        document.pop("logs")  # they are gone with this run
                        emit({"kind": "scenario", **document})
                        all_right &= document["accuracy"]["holds"]
    return all_right


def _stages(threads: int, profile: Profile, emit: Callable[[Record], None]) -> bool:
    from bench.stages import stages
    from bench.suites.plan import Plan

    with tempfile.TemporaryDirectory() as folder:
        stages(Plan(profile, threads, Path(folder)), emit)
    return True


def _originals(threads: int, profile: Profile, emit: Callable[[Record], None]) -> bool:
    from bench.originals.measuring import MEASURES, is_wrong, measure

    wrong: list[Record] = []
    failed: list[int] = []

    def emitted(record: Record) -> None:
        emit(record)
        if is_wrong(record):
            wrong.append(record)

    for row in MEASURES:
        try:
            measure(
                [row], quick=profile == "quick", train=profile == "full", emit=emitted, threads=threads,
                weights_resnet101=os.environ.get("SEMBLANCE_RESNET101_WEIGHTS"),
            )  # fmt: skip
        except SemblanceError as error:  # the other rows have nothing to do with it
            _console.print(f"error: row {row}: {' '.join(str(error).split())}")
            failed.append(row)
    return not (wrong or failed)


def _check(profile: Profile, emit: Callable[[Record], None]) -> bool:
    from bench.check import check

    is_quick = profile == "quick"
    return check(emit, seconds=1.0 if is_quick else 2.0, is_quick=is_quick)
