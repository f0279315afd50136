"""The service measured, loaded and attacked; each mode prints tables and, as its last line, one JSON document.

    python -m bench.service cost                              one picture over loopback against the call in process
    python -m bench.service saturation --models mobilenet.int8 resnet101.int8
    python -m bench.service loadgen --model siamese           MLPerf's Server scenario through HTTP
    python -m bench.service soak --minutes 10                 twice the capacity, bad clients, a kill in the middle
    python -m bench.service fuzz --bodies 1000 --seed 0

The server is the real command, `semblance serve`, with its defaults but for what is said, on 127.0.0.1. The client has
a process of its own, with one thread, on the same processors. Everything ends by itself, and with whoever started it.
Status 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import machine, mistakes_in_one_line
from bench.service import tables
from semblance.inference.backends import names

_PACKAGES = ("onnxruntime", "numpy", "opencv-python-headless", "uvicorn", "fastapi", "httptools", "uvloop")
Document = dict[str, Any]


def _cost(given: argparse.Namespace) -> Document:
    from bench.service.cost import measure

    return measure(given.model, rounds=given.rounds, calls=given.calls, threads=given.threads, backend=given.backend)


def _saturation(given: argparse.Namespace) -> Document:
    from bench.service.saturation import measure

    found = [
        measure(
            model, images=given.images, rounds=given.rounds, seconds=given.seconds, threads=given.threads,
            backend=given.backend,
        )
        for model in given.models
    ]  # fmt: skip
    return {"models": found, "holds": all(each["holds"] for each in found)}


def _loadgen(given: argparse.Namespace) -> Document:
    from bench.service.loadgen import measure

    return measure(
        given.model, seconds=given.seconds, threads=given.threads, backend=given.backend, is_beside=given.beside
    )


def _soak(given: argparse.Namespace) -> Document:
    from bench.service.soak import Asked, soak

    return soak(
        Asked(
            model=given.model,
            seconds=60 * given.minutes,
            capacity_s=given.capacity_s,
            threads=given.threads,
            backend=given.backend,
            max_pending_images=given.max_pending_images,
            settled_s=given.settled_s,
            writes_per_s=given.writes_per_s,
            searches_per_s=given.searches_per_s,
            header_timeout_s=given.header_timeout_s,
            body_timeout_s=given.body_timeout_s,
            is_killed=given.kill,
            extra=tuple(shlex.split(given.server_options)),
            seed=given.seed,
        )
    )


def _fuzz(given: argparse.Namespace) -> Document:
    from bench.service.fuzz import fuzz

    keep = given.keep or Path(tempfile.gettempdir(), f"semblance-fuzz-{given.seed}")
    return fuzz(
        num_bodies=given.bodies, seed=given.seed, keep=keep, model=given.model, threads=given.threads, only=given.only
    )


_MODES: dict[str, tuple[Callable[[argparse.Namespace], Document], Callable[[Document], Any], str]] = {
    "cost": (_cost, tables.cost, "what HTTP costs one caller"),
    "saturation": (_saturation, tables.saturation, "images/s through the service against in process"),
    "loadgen": (_loadgen, tables.loadgen, "the highest rate whose p99 holds, by MLPerf's LoadGen"),
    "soak": (_soak, tables.soak, "minutes at twice the capacity"),
    "fuzz": (_fuzz, tables.fuzz, "bodies that no honest client sends"),
}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.service", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(dest="mode", required=True)
    own = {name: modes.add_parser(name, help=told) for name, (_, _, told) in _MODES.items()}
    for mode in own.values():
        mode.add_argument("--threads", type=int, default=2, help="inside the model (default 2)")
        mode.add_argument("--out", type=Path, default=None, help="a file for the JSON document too")
        mode.add_argument("--backend", default="auto", choices=names())
    model_help = "a name, a file, or a subject of the races with its precision, as mobilenet.int8 (default %(default)s)"
    for name, default in (("cost", "siamese"), ("loadgen", "siamese"), ("soak", "mobilenet.int8"), ("fuzz", "siamese")):
        own[name].add_argument("--model", default=default, help=model_help)
    own["cost"].add_argument("--rounds", type=int, default=30)
    own["cost"].add_argument("--calls", type=int, default=200, help="of each way in a round (default 200)")
    own["saturation"].add_argument("--models", nargs="+", default=["mobilenet.int8", "resnet101.int8"])
    own["saturation"].add_argument("--images", type=int, nargs="+", default=[1, 8, 32], help="in a request")
    own["saturation"].add_argument("--rounds", type=int, default=7)
    own["saturation"].add_argument("--seconds", type=float, default=5.0, help="of a turn (default 5)")
    own["loadgen"].add_argument("--seconds", type=float, default=5.0, help="of each rate that is tried (default 5)")
    own["loadgen"].add_argument("--beside", action=argparse.BooleanOptionalAction, default=True,
                                help="the batcher in process under the same bound too")  # fmt: skip
    soak = own["soak"]
    soak.add_argument("--minutes", type=float, default=10.0)
    soak.add_argument("--capacity-s", type=float, default=20.0, help="how long the capacity is measured (default 20)")
    soak.add_argument("--max-pending-images", type=int, default=64)
    soak.add_argument("--settled-s", type=float, default=60.0, help="of a life, after which memory counts (default 60)")
    soak.add_argument("--writes-per-s", type=float, default=4.0, help="beside; half of them embed a picture too")
    soak.add_argument("--searches-per-s", type=float, default=4.0, help="beside; each embeds a picture too")
    soak.add_argument("--header-timeout-s", type=float, default=10.0)
    soak.add_argument("--body-timeout-s", type=float, default=30.0)
    soak.add_argument("--kill", action=argparse.BooleanOptionalAction, default=True, help="SIGKILL in the middle")
    soak.add_argument("--server-options", default="", help="further ones of the server, as '--workers 2'")
    own["fuzz"].add_argument("--bodies", type=int, default=1000)
    own["fuzz"].add_argument("--keep", type=Path, default=None, help="folder for requests that failed")
    own["fuzz"].add_argument("--only", type=int, nargs="*", default=[], help="numbers to send instead of all")
    for name in ("soak", "fuzz"):
        own[name].add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    for name, value in vars(given).items():
        least = 0 if name in ("seed", "only", "kill", "beside") else 1e-3
        if isinstance(value, int | float) and value < least:
            parser.error(f"--{name.replace('_', '-')} must be above 0, is {value}")
    return given


def main() -> None:
    """Do what the command line asks for; status 1 where something does not hold."""
    given = parsed()
    run, shown, _ = _MODES[given.mode]
    described = machine(*_PACKAGES)  # before, since its own load must not show
    with mistakes_in_one_line():
        found = run(given)
    console = Console(width=150)
    for table in shown(found):
        console.print(table)
    for problem in found.get("problems", ()):
        console.print(f"NOT AS IT MUST BE: {problem}", markup=False, highlight=False, soft_wrap=True)
    if kept := found.get("kept_in"):
        console.print(f"requests that failed are in {kept}", markup=False)
    document = json.dumps({"mode": given.mode, "machine": described, **found})
    if given.out is not None:
        given.out.write_text(document + "\n")
    sys.stdout.flush()
    print(document)
    raise SystemExit(0 if found["holds"] else 1)


if __name__ == "__main__":
    main()
