"""`python -m bench report`: the page, the README's tables and its picture, all from one result file.

    python -m bench report
    python -m bench report bench/results/2026-01-31.jsonl --no-embeddings --out report/
    python -m bench report --readme README.md --picture docs/benchmark.svg
    python -m bench report --readme README.md --check

Without a file the one that was begun last is taken. With --readme or --picture alone no page is made, since what they
need takes no time: give --out to have it as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import mistakes_in_one_line
from bench.records import Results, newest, read
from semblance.files import write_whole

_OUT = Path("semblance-bench")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `report` may be told."""
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a result file (the newest of bench/results)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where report.html is put ({_OUT}/)")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="write its tables anew, between their markers")
    parser.add_argument(
        "--check", action="store_true", help="with --readme: write nothing, status 1 if it would change"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the README's chart, an SVG file")
    parser.add_argument("--no-embeddings", action="store_true", help="leave contact sheets and t-SNE out of the page")


def main(given: argparse.Namespace) -> int:
    """Make what was asked for; the status. The last line on stdout is one JSON document."""
    with mistakes_in_one_line():
        if given.check and (given.readme is None or given.out or given.picture):
            print("error: --check goes with --readme FILE, and with nothing that writes", file=sys.stderr)
            return 2
        results = read(given.file or newest())
        made: dict[str, str | list[str]] = {"file": str(results.path)}
        status = 0
        if given.readme:
            changed = _readme(results, given.readme, is_check=given.check)
            made["readme"], made["changed"] = str(given.readme), changed
            status = int(given.check and bool(changed))
        if given.picture:
            from bench.report.picture import picture

            _write(given.picture, picture(results))
            made["picture"] = str(given.picture)
        if given.out or not (given.readme or given.picture):
            from bench.report.page import page

            made["page"] = str((given.out or _OUT) / "report.html")
            _write(Path(str(made["page"])), page(results, has_pictures=not given.no_embeddings))
    print(json.dumps(made))
    return status


def _readme(results: Results, path: Path, *, is_check: bool) -> list[str]:
    """The names of the tables that were not those of the file; unless it is a check they are now."""
    from bench.report.readme import rewritten

    text = path.read_text()
    new, changed = rewritten(text, results)
    for name in changed:
        print(f"{path}: {name} {'is not the table of' if is_check else 'is now the table of'} {results.path.name}")
    if not is_check and new != text:
        write_whole(path, new.encode())
    return changed


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    print(f"{path}: {len(text.encode()) / 2**20:.2f} MiB")
