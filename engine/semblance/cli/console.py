"""What all commands share: where results and messages go, how options are called, and the progress bar.

Results go to stdout, messages and the bar to stderr. Names of files and labels are printed as they are: brackets in
them are no markup, nor are colons an emoji.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from semblance.cli.stopping import check_signals

OUT = Console(markup=False, emoji=False, highlight=False)
_ERR = Console(stderr=True, markup=False, emoji=False, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
GalleryPath = Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery made by `semblance embed`.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A name that `semblance models` lists, or an ONNX file.")]
OwnModel = Annotated[
    str | None, typer.Option("--model", "-m", help="A name or an ONNX file. Default: the gallery's own model.")
]
Backend = Annotated[
    str,
    typer.Option(
        help="auto, or a name that `semblance doctor` lists. What is asked for by name is used, or it is an error."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads inside the model. Default: all this process may use.")
]
Where = Annotated[
    str | None,
    typer.Option(metavar="SQL", help="Only pictures for which this holds, as: label = 'chair' AND width > 300"),
]


def say(text: str) -> None:
    """A message for whoever watches; in no width but its own."""
    _ERR.print(text, soft_wrap=True)


def show(text: str) -> None:
    """A line of the result."""
    OUT.print(text, soft_wrap=True)


def print_json(document: Any) -> None:
    """The one JSON document."""
    print(json.dumps(document, default=str, indent=2))


def facts_table(title: str, facts: Sequence[tuple[str, str]]) -> Table:
    """Names and values, for values of any length."""
    table = Table(show_header=False, title=title, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a fingerprint is of use only whole
    for name, value in facts:
        table.add_row(name, value)
    return table


Advance = Callable[[int, int | None], None]


@contextmanager
def progress_bar(unit: str) -> Iterator[Advance]:
    """A bar on stderr, as a function of (done, total) that appears with its first call; no bar where nobody looks.

    The function is also where a signal stops the command, should it have been lost elsewhere.
    """
    with progress_bars(unit) as (advance,):
        yield advance


@contextmanager
def progress_bars(*units: str) -> Iterator[tuple[Advance, ...]]:
    """Several of them, one below the other."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_ERR, transient=True, disable=not _ERR.is_terminal) as bar:
        yield tuple(_advance(bar, unit) for unit in units)


def _advance(bar: Progress, unit: str) -> Advance:
    task = bar.add_task(unit, total=None, start=False, visible=False, first=None)

    def advance(done: int, total: int | None) -> None:
        check_signals()
        if bar.tasks[task].fields["first"] is None:  # what an earlier run did is no speed of this one
            bar.start_task(task)
            bar.update(task, first=done, visible=True)
        bar.update(task, completed=done, total=total)

    return advance


class _RateColumn(ProgressColumn):
    """Per second since the start, which a pause does not make forget."""

    def render(self, task: Task) -> Text:
        first = task.fields["first"]
        if first is None or task.completed <= first or not task.elapsed:
            return Text("")
        return Text(f"{(task.completed - first) / task.elapsed:,.0f}/s")
