"""The command that measures how a model runs fastest on this machine."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from semblance.cli.console import OUT, Json, print_json, say, show
from semblance.cli.stopping import check_signals
from semblance.errors import BackendError

if TYPE_CHECKING:
    from semblance.tune.choice import Row
    from semblance.tune.sweep import Sweep


def tune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name that `semblance models` lists, or an ONNX file.")
    ],
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Only what answers its slowest batches (p99) within this. Default: no bound.")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="Measure only this one; may be given several times. Default: all.")
    ] = None,
    max_batch: Annotated[int | None, typer.Option(min=1, help="Largest batch. Default: by the model's input.")] = None,
    budget_s: Annotated[
        float, typer.Option(help="Seconds for all of it; a load that has begun is not cut short.")
    ] = 120,
    window_s: Annotated[float, typer.Option(help="Seconds of one measurement; three in a row have to agree.")] = 0.5,
    ungated: Annotated[
        bool, typer.Option("--ungated", help="Also files that did not pass the gate of retrieval.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and tell; keep nothing.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Remove what was kept for MODEL; measure nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Measure backends, precisions, batches, threads and streams for MODEL here, and keep the fastest for `auto`.

    Files of other precisions beside it (NAME.int8.onnx) take part if their cards say that they passed the gate of
    retrieval. What is kept holds for this machine and these versions of the runtimes; --forget undoes it.
    """
    from semblance.inference.models import find_model
    from semblance.tune.options import SweepOptions
    from semblance.tune.sweep import forget as forget_kept
    from semblance.tune.sweep import keep, sweep

    path = find_model(model)
    if forget:
        _tell_forgotten(model, forget_kept(path), as_json)
        return
    options = SweepOptions(
        backends=tuple(backend or ()),
        max_latency_ms=max_latency_ms,
        max_batch=max_batch,
        budget_s=budget_s,
        window_s=window_s,
        is_ungated=ungated,
    )
    found = sweep(path, options, say=_say)
    kept = [] if dry_run else keep(found)
    if as_json:
        print_json(
            _document(model, found, kept, None if found.best is None else _command(model, path, found.best, kept))
        )
    else:
        _show(model, path, found, kept)
    if found.best is None:
        raise BackendError(_nothing(model, found, max_latency_ms))


def _say(text: str) -> None:
    check_signals()
    say(text)


def _show(model: str, path: Path, found: Sweep, kept: list[Path]) -> None:
    shown = _shown(found)
    if shown:
        OUT.print(_measured_table(found, shown))
    if passed := sum(row.speed is not None for row in found.rows) - len(shown):
        show(f"{passed} slower ones had one window each; --json has them")
    if not_run := _causes(found):
        OUT.print(_causes_table(not_run))
    for note in dict.fromkeys(f"{row.variant.name}: {row.note}" for row in shown if row.note):
        show(f"Note: {note}")
    for text in found.pruned:
        show(f"Pruned: {text}")
    if found.soonest is not None:
        show(f"Soonest for a single image: {_told(found.soonest)}")
    if found.best is None:
        return
    show(f"Most images: {_told(found.best)}")
    show(f"Used by:\n  {_command(model, path, found.best, kept)}")
    if kept:
        files = ", ".join(row.variant.name for row in found.by_file.values())
        show(f"Kept for the backend `auto` of {files}; to undo it:\n  semblance tune {shlex.quote(model)} --forget")
    else:
        show("Nothing was kept")


def _shown(found: Sweep) -> list[Row]:
    """Rows measured to the end, and of what is not among them the fastest of each file on each backend."""
    final = [row for row in found.rows if row.is_final and row.speed]
    seen = {(row.variant.path, row.backend) for row in final}
    for row in found.rows:
        if row.speed and (row.variant.path, row.backend) not in seen:
            seen.add((row.variant.path, row.backend))
            final.append(row)
    return final


def _measured_table(found: Sweep, rows: list[Row]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)  # ten columns in a terminal of eighty
    table.add_column("backend", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    for name in ("batch", "threads", "streams", "images/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("stable", no_wrap=True)
    table.add_column("note", no_wrap=True)
    for row in rows:
        setting, speed = row.measured
        tail = _ms(speed.tail_ms) + ("" if speed.tail_name == "p99" else f" {speed.tail_name}")
        steady = "once" if not row.is_final else "yes" if speed.is_stable else "no"
        marks = [text for text, best in (("most", found.best), ("soonest", found.soonest)) if row is best]
        sizes = (setting.batch, setting.threads, setting.streams)
        figures = (f"{speed.images_per_sec:,.0f}", _ms(speed.p50_ms), tail, steady, ", ".join(marks))
        table.add_row(row.backend, row.variant.precision, *map(str, sizes), *figures)
    return table


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _causes(found: Sweep) -> dict[tuple[str, str], list[str]]:
    """(backend, cause) of what did not run, with the precisions that it is so for.

    Of a backend that runs nothing here, its cause for the first file stands for all: what it could compute is beside
    the point.
    """
    runs = {row.backend for row in found.rows if row.speed}
    first: dict[str, str] = {}
    causes: dict[tuple[str, str], list[str]] = {}
    for row in found.rows:
        if row.speed is None:
            cause = (f"batch {row.setting.batch}: " if row.setting else "") + row.note
            if row.backend and row.backend not in runs:
                cause = first.setdefault(row.backend, cause)
            of = causes.setdefault((row.backend or "all", cause), [])
            if row.variant.precision not in of:
                of.append(row.variant.precision)
    return causes


def _causes_table(causes: dict[tuple[str, str], list[str]]) -> Table:
    table = Table("backend", "precision", title="Not run", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cause", overflow="fold")
    for (backend, cause), precisions in causes.items():
        table.add_row(backend, ", ".join(precisions), cause)
    return table


def _told(row: Row) -> str:
    setting, speed = row.measured
    rate = f"{speed.images_per_sec:,.0f} images/s"
    latency = f"p50 {speed.p50_ms:,.2f} ms, {speed.tail_name} {speed.tail_ms:,.2f} ms"
    unsteady = "" if speed.is_stable else "; its windows did not agree, measure again when the machine is quiet"
    return f"{row.variant.name} on {setting.told}, batch {setting.batch}: {rate}, {latency}{unsteady}"


def _command(model: str, path: Path, best: Row, kept: list[Path]) -> str:
    """What a user types to have it; where nothing was kept, with all that the record would have said."""
    is_name = path.stem == model
    name = best.variant.name if is_name else shlex.quote(str(best.variant.path))
    command = f"semblance embed YOUR_FOLDER --model {name} --out GALLERY"
    if kept:
        return command
    setting, _ = best.measured
    return (
        f"{command} --backend {setting.backend} --threads {setting.threads} --streams {setting.streams} "
        f"--batch {setting.batch}"
    )


def _document(model: str, found: Sweep, kept: list[Path], command: str | None) -> dict[str, Any]:
    return {
        "model": model,
        "seconds": found.seconds,
        "best": _facts(found.best),
        "soonest": _facts(found.soonest),
        "command": command,
        "kept": kept,
        "pruned": found.pruned,
        "rows": [_facts(row) for row in found.rows],
    }


def _facts(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    setting = asdict(row.setting) if row.setting else {"backend": row.backend}
    return {
        "model": row.variant.name,
        "path": row.variant.path,
        "precision": row.variant.precision,
        **setting,
        **(asdict(row.speed) if row.speed else {}),
        "is_final": row.is_final,
        "note": row.note,
    }


def _tell_forgotten(model: str, records: list[Path], as_json: bool) -> None:
    if as_json:
        print_json({"model": model, "forgotten": records})
    elif records:
        show(f"Forgotten: {', '.join(map(str, records))}; `--backend auto` goes by its rules again")
    else:
        show(f"Nothing was kept for {model}")


def _nothing(model: str, found: Sweep, max_latency_ms: float | None) -> str:
    ran = [row for row in found.rows if row.is_final and row.speed]
    if ran and max_latency_ms is not None:
        nearest = min(ran, key=lambda row: row.measured[1].tail_ms)
        return f"nothing keeps to {max_latency_ms:g} ms; the nearest is {_told(nearest)}"
    causes = "; ".join(dict.fromkeys(f"{row.backend or row.variant.name}: {row.note}" for row in found.rows))
    return f"nothing of {model} could be measured here: {causes}"
