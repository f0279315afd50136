"""The command that examines the machine: `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from semblance.cli.console import OUT, Json, Model, facts_table, print_json, progress_bar

if TYPE_CHECKING:
    from semblance.doctor.processor import Processor
    from semblance.doctor.report import Report
    from semblance.doctor.trials import BackendTrial, Placement

Facts = list[tuple[str, str]]


def doctor(
    model: Model = "siamese",
    nodes: Annotated[bool, typer.Option("--nodes", help="Say which provider runs the model's nodes, too.")] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="BACKEND", help="Fail where this backend does not work here. Can be given repeatedly."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=5, help="Seconds that each trial may take.")] = 120,
    as_json: Json = False,
) -> None:
    """Say what there is to embed with on this machine, try it, and tell what to do about what does not work.

    Each backend embeds for about a second with a small model that is shipped, in a process of its own. --model is the
    one that `auto` and --nodes are asked about. The exit status is 0 if any backend works, and each that is required.
    """
    from semblance.doctor import check, check_required, examine

    check_required(require or ())
    with progress_bar("trials") as progress:
        report = examine(model, nodes=nodes, seconds=timeout, progress=progress)
    if as_json:
        print_json(asdict(report))
    else:
        _print(report)
    check(report, require or ())


def _print(report: Report) -> None:
    OUT.print(facts_table(f"semblance {report.semblance}", _about_python(report)))
    OUT.print(facts_table("Processor", _about_processor(report.processor)))
    OUT.print(facts_table("NVIDIA GPUs", list(_about_gpus(report))))
    OUT.print(_trials_table(report.backends))
    OUT.print(_causes_table(report.backends))
    if report.nodes is not None:
        OUT.print(_nodes_table(report))
    auto = report.auto
    if auto.problem:
        OUT.print(f"auto has no backend for {auto.model}: {auto.problem}")
    else:
        OUT.print(f"auto takes {auto.backend} for {auto.model}: {auto.why}")


def _about_python(report: Report) -> Facts:
    return [
        ("Python", f"{report.python}, {report.executable}"),
        ("platform", report.platform),
        *report.installed.versions.items(),
        *(("clash", clash) for clash in report.installed.clashes),
    ]


def _about_processor(processor: Processor) -> Facts:
    threads = f"{processor.threads} of {processor.processors}"
    if processor.quota is not None:
        threads += f", for {processor.quota:g} processors' worth of time"
    memory = _gib(processor.memory_bytes)
    if processor.memory_limit_bytes is not None:
        memory = f"{_gib(processor.memory_limit_bytes)} of {memory}"
    facts = [("model", processor.model), ("threads", threads), ("memory", memory)]
    here = [each.name for each in processor.features if each.flags]
    lacking = [each.name for each in processor.features if not each.flags]
    if processor.features:
        facts.append(("has", ", ".join(here) or "none of what speeds models up"))
    if lacking:
        facts.append(("has not", ", ".join(lacking)))
    return facts + [("so", text) for text in processor.follows]


def _about_gpus(report: Report) -> Iterator[tuple[str, str]]:
    gpus, built_for = report.gpus, report.installed.onnxruntime_cuda
    has_driver = any(each.name == "libcuda" and each.path for each in gpus.libraries)
    yield "driver", gpus.driver or ("of unknown version" if has_driver else "none")
    for device in gpus.devices:
        extra = [_gib(device.memory_bytes)] if device.memory_bytes is not None else []
        extra += [f"compute capability {device.compute_capability}"] if device.compute_capability else []
        yield "device", ", ".join([device.name, *extra])
    if not gpus.devices:
        yield "device", "none"
    if gpus.visible_devices is not None:
        seen = "" if gpus.visible is None else f": CUDA sees {gpus.visible}"
        yield "CUDA_VISIBLE_DEVICES", f"{gpus.visible_devices!r}{seen}"
    if built_for is not None:
        yield "ONNX Runtime", f"is built for CUDA {built_for}"
    for library in gpus.libraries:
        if library.path is None:
            yield library.name, library.problem or "not found"
        else:
            yield library.name, f"{library.version or 'of unknown version'}, {library.path}"
    for problem in gpus.problems:
        yield "problem", problem


def _trials_table(trials: tuple[BackendTrial, ...]) -> Table:
    from semblance.doctor import SMOKE_MODEL

    table = Table(
        "backend", "runtime", "works", title=f"Backends, a second each with {SMOKE_MODEL}", title_justify="left"
    )
    table.add_column("loads in, ms", justify="right")
    table.add_column("images/s", justify="right")
    table.add_column("differs from cpu by", justify="right")
    for trial in trials:
        table.add_row(
            trial.name,
            trial.runtime or "not installed",
            "yes" if trial.works else "no",
            "" if trial.load_ms is None else f"{trial.load_ms:,.0f}",
            "" if trial.images_per_sec is None else f"{trial.images_per_sec:,.0f}",
            "" if trial.max_difference is None or trial.name == "cpu" else f"{trial.max_difference:.1e}",
        )
    return table


def _causes_table(trials: tuple[BackendTrial, ...]) -> Table:
    """Why some do not work, which can be long: beside their names, without lines."""
    table = Table.grid(padding=(0, 1))
    for trial in trials:
        if trial.problem:
            table.add_row(f"{trial.name}:", trial.problem)
    return table


def _nodes_table(report: Report) -> Table:
    table = Table("backend", "provider", title=f"Nodes of {report.auto.model}", title_justify="left")
    table.add_column("nodes", justify="right")
    table.add_column("operators", overflow="fold")
    working = {trial.name for trial in report.backends if trial.works}
    for row in report.nodes or ():
        if row.problem is None or row.backend in working:  # one that runs no model has said why
            table.add_row(*_node_cells(row))
    return table


def _node_cells(row: Placement) -> tuple[str, str, str, str]:
    if row.provider is None:
        return row.backend, "", "", row.problem or ""
    operators = ", ".join(f"{count} {name}" if count > 1 else name for name, count in row.operators.items())
    return row.backend, row.provider, f"{row.num_nodes:,}", operators


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / (1 << 30):,.1f} GiB"
