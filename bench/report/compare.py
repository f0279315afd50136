"""`python -m bench compare`: what changed between two result files, and whether the second is the worse one.

    python -m bench compare bench/results/old.jsonl bench/results/new.jsonl
    python -m bench compare old.jsonl new.jsonl --threshold .05 --suite throughput latency

A contender is slower where it lost more than the threshold, and more than both runs' rounds leave to chance. Ratios to
the original of the same race are compared, since a machine differs from hour to hour; rates if --absolute is given.
Status 1 where a contender of the engine became slower or is gone (of others that is told), answers became wrong,
precision at 10 fell by more than .005, or a claim about the harness does not hold any more; 0 where nothing of that is;
2 for a wrong command line. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import mistakes_in_one_line
from bench.records import Results, read
from bench.report import words
from bench.report.differences import Change, Differences, differences
from bench.report.races import SUITES

_CONSOLE = Console(width=150, highlight=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `compare` is told."""
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("before", type=Path, metavar="A", help="the result file to compare with")
    parser.add_argument("after", type=Path, metavar="B", help="the one that may be worse")
    parser.add_argument("--threshold", type=_share, default=0.10, help="a loss of speed up to this is none (.10)")
    parser.add_argument("--suite", nargs="+", default=[], choices=SUITES, metavar="SUITE",
                        help=f"races alone, of: {', '.join(SUITES)}")  # fmt: skip
    parser.add_argument("--absolute", action="store_true", help="rates instead of ratios to the original")
    parser.add_argument("--all", action="store_true", help="show what did not change, too")


def main(given: argparse.Namespace) -> int:
    """Compare; the status."""
    with mistakes_in_one_line():
        before, after = read(given.before), read(given.after)
        found = differences(before, after, is_absolute=given.absolute, suites=given.suite)
    changed = [each for each in found.changes if each.is_slower(given.threshold)]
    slower = [each for each in changed if each.role == "engine"]
    faster = [each for each in found.changes if each.is_faster(given.threshold)]
    _show(before, after, found, found.changes if given.all else [*changed, *faster], given.threshold)
    is_worse = bool(slower or found.worse)
    _CONSOLE.print(_verdict(found, slower, faster, given.threshold))
    document = {
        "before": str(before.path),
        "after": str(after.path),
        "compared": "rates" if found.is_absolute else "ratios to the original",
        "threshold": given.threshold,
        "num_compared": len(found.changes),
        "slower": [asdict(each) for each in slower],
        "faster": [asdict(each) for each in faster],
        "worse": found.worse,
        "told": found.told,
        "is_worse": is_worse,
    }
    print(json.dumps(document))
    return int(is_worse)


# ------------------------------------------------------------------------------------------------------------------


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, is {text}")
    return value


def _show(before: Results, after: Results, found: Differences, changes: Sequence[Change], threshold: float) -> None:
    compared = "rates" if found.is_absolute else "ratios to the original of the same run"
    for name, file in (("A", before), ("B", after)):
        _CONSOLE.print(f"{name}: {file.path.name}: {words.provenance(file.run)}", markup=False)
    _CONSOLE.print(f"Compared are {compared}.", markup=False)
    if changes:
        table = Table(title="speed: B as times A")
        for heading in ("race", "workload", "contender", "A", "B", "B / A", "95 %", ""):
            table.add_column(heading, justify="right" if heading in ("A", "B", "B / A", "95 %") else "left")
        for each in changes:
            verdict = "slower" if each.is_slower(threshold) else "faster" if each.is_faster(threshold) else ""
            table.add_row(
                escape(each.race), escape(each.workload), escape(each.who), _value(each.before.value, found),
                _value(each.after.value, found), words.times(each.change.value),
                words.interval(each.change) or "one round", verdict,
            )  # fmt: skip
        _CONSOLE.print(table)
    for line in found.worse:
        _CONSOLE.print(f"WORSE: {line}", markup=False)
    for line in found.told:
        _CONSOLE.print(f"note: {line}", markup=False)


def _value(value: float, found: Differences) -> str:
    return f"{words.number(value)}/s" if found.is_absolute else f"{words.times(value)}x"


def _verdict(found: Differences, slower: Sequence[Change], faster: Sequence[Change], threshold: float) -> str:
    of = f"of {len(found.changes)} compared, {len(slower)} slower and {len(faster)} faster by more than {threshold:.0%}"
    if slower or found.worse:
        others = f"; {len(found.worse)} other things are worse" if found.worse else ""
        return f"B is worse: {of}{others}."
    return f"B is not worse: {of}." if found.changes else "B is not worse, but nothing could be compared."
