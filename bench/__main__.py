"""`python -m bench`: measure, report, compare.

python -m bench run                    races, scenarios, stages, retrieval: quick, minutes
python -m bench run --full
python -m bench run --parts races --suites latency -k "siamese and int8"
python -m bench report                 the newest result file as one HTML page
python -m bench report --readme README.md
python -m bench compare OLD.jsonl NEW.jsonl
python -m bench check                  does the harness tell the truth?
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; the exit status."""
    # Here, since a contender's process imports the module that began the run: what stands above costs each of them
    from bench import mistakes_in_one_line, run
    from bench.report import command as report
    from bench.report import compare

    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run.add_arguments(commands.add_parser("run", help="measure, into a result file"))
    report.add_arguments(commands.add_parser("report", help="a result file as a page and as tables"))
    compare.add_arguments(commands.add_parser("compare", help="what changed between two result files"))
    checking = commands.add_parser("check", help="measure contenders whose results are known")
    checking.add_argument("--seconds", type=float, default=2.0, help="about how long each of them is measured")
    given = parser.parse_args(arguments)
    if given.command == "check":
        return _check(given.seconds)
    with mistakes_in_one_line():
        return {"run": run.main, "report": report.main, "compare": compare.main}[given.command](given)


def _check(seconds: float) -> int:
    from rich.console import Console
    from rich.table import Table

    from bench import mistakes_in_one_line
    from bench.check import check

    claims: list[dict[str, Any]] = []
    with mistakes_in_one_line():
        holds = check(claims.append, seconds=seconds)
    table = Table("claim", "found", "holds", title="does the harness tell the truth?")
    for each in claims:
        table.add_row(each["claim"], each["found"], "yes" if each["holds"] else "NO")
    Console(width=150).print(table)
    print(json.dumps(claims))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
