"""The command line: a thin skin over functions that are useful without it.

Results go to stdout (`--json`: one JSON document), everything else to stderr. Exit status 0 is success, 1 a failure
that is told in one line, 2 a usage error.
"""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Annotated

import typer

import semblance
from semblance.cli import about, changing, doctor, finding, making, matching, serving, tuning
from semblance.cli.limits import allow_many_files
from semblance.cli.stopping import listen_for_signals
from semblance.errors import SemblanceError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a user's mistake becomes one line on stderr and status 1."""
    logging.basicConfig(format="%(message)s")  # to stderr
    logging.getLogger("semblance").setLevel(logging.INFO)  # a download says so
    listen_for_signals()
    allow_many_files()
    try:
        app()
    except SemblanceError as error:
        print(f"semblance: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(semblance.__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the images that look like an image."""


for command in (
    making.embed,
    making.add,
    finding.search,
    finding.duplicates,
    finding.recall,
    matching.match,
    changing.remove,
    changing.compact,
    changing.rebuild,
    changing.verify,
    changing.export,
    serving.serve,
    about.info,
    about.models,
    tuning.tune,
    about.demo,
    doctor.doctor,
):
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    app.command(help="\n\n".join(" ".join(text.split()) for text in paragraphs))(command)  # wrapped by the terminal
