"""`semblance serve`: the engine behind HTTP. Its options are the fields of the service's `Settings`."""

from __future__ import annotations

import inspect
import os
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from semblance.cli.console import show
from semblance.errors import RuntimeMissing
from semblance.service.settings import Settings, kind_of
from semblance.service.sources import PREFIX, load, shown


def serve(**given: Any) -> None:
    """Serve GALLERY, or a model alone, over HTTP: embedding, search, changes, a page.

    It listens on this machine only, unless told otherwise, and then wants a token. SIGTERM lets what is under way
    finish. Each option can be said in the environment too, as SEMBLANCE_SERVE_MAX_BATCH=64, or in a TOML file, as
    max-batch = 64: a flag comes first, then the environment, then the file.
    """
    config, show_config = given.pop("config"), given.pop("show_config")
    said = {name: value for name, value in given.items() if value is not None and value != []}
    flags = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    settings, origins = load(flags, os.environ, config)
    if show_config:
        show(shown(settings, origins))
        return
    try:
        from semblance.service.run import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("semblance"):
            raise
        raise RuntimeMissing(
            f"`semblance serve` needs {error.name}, which is not installed; `pip install 'semblance[serve]'`"
        ) from error
    raise typer.Exit(run(settings))


def _parameter(each: Field[Any]) -> inspect.Parameter:
    """The command line's view of one setting: None where it was not said."""
    scalar, is_many = kind_of(each)
    told = each.metadata
    flag = f"--{each.name.replace('_', '-')}"
    default = None if each.default in (None, ()) else each.default
    help = told["help"] if default is None or scalar is bool else f"{told['help']} Default: {default}."
    annotation: Any
    if each.name == "gallery":
        annotation = Annotated[Path | None, typer.Argument(metavar="[GALLERY]", help=help, show_default=False)]
    else:
        flags = [f"{flag}/--no-{flag[2:]}"] if scalar is bool else [flag]
        short = {"model": ["-m"]}.get(each.name, [])
        option = typer.Option(*flags, *short, help=help, rich_help_panel=told["group"], show_default=False)
        # mypy takes only types that are written out, and this one is found in the table
        annotation = Annotated[(list[scalar] if is_many else scalar) | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml", help=f"Settings by name. Default: ${PREFIX}CONFIG.", show_default=False
    ),
]
_SHOW = Annotated[bool, typer.Option("--show-config", help="Print every setting and where it came from, and exit.")]
# Typer reads it; mypy knows no such attribute of functions, which `inspect.signature` looks for
serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *(_parameter(each) for each in fields(Settings) if not each.metadata["secret"]),
        inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_CONFIG),
        inspect.Parameter("show_config", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_SHOW),
    ]
)
