"""The survival tests on the command line: tables for people, then one JSON document; status 1 where not all is well."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line
from bench.survival.damaging import damage
from bench.survival.killing import COMMANDS, kill


def show_kills(results: Sequence[dict[str, Any]]) -> None:
    """A line for each command."""
    table = Table(title="killed and given again")
    for heading in ("command", "runs", "kills", "where", "same bytes", "wrong", "s"):
        table.add_column(heading, justify="left" if heading in ("command", "where", "same bytes") else "right")
    for result in results:
        hit = Counter(result["stages"]["aimed"]) + Counter(result["stages"]["timed"])
        table.add_row(
            result["command"],
            str(result["num_runs"]),
            str(result["num_kills"]),
            ", ".join(f"{stage} {count}" for stage, count in hit.items()),
            ", ".join(f"{kind} {count}" for kind, count in result["identical"].items()),
            str(len(result["problems"]) + len(result["unflushed"])),
            f"{result['seconds']:.0f}",
        )
    console = Console(width=118)
    console.print(table)
    for result in results:
        for problem in (*result["unflushed"], *result["problems"]):
            console.print(f"{result['command']}: {problem}", markup=False, highlight=False)


def show_damage(result: dict[str, Any]) -> None:
    """A line for each file."""
    table = Table(title=f"{result['num_flips']} flips and {result['num_losses']} losses, {result['seconds']:.0f} s")
    for heading in ("file", *(name.replace("_", " ") for name in result["all"])):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for name, counts in {**result["files"], "all": result["all"]}.items():
        table.add_row(name, *map(str, counts.values()))
    console = Console(width=118)
    console.print(table)
    for problem in result["problems"]:
        console.print(problem, markup=False, highlight=False)


def main() -> None:
    """Kill or damage what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.survival", description="whether a gallery survives")
    tests = parser.add_subparsers(dest="test", required=True)
    killing = tests.add_parser("kill", help="kill a command at random and at chosen moments, and give it again")
    killing.add_argument("--runs", type=int, default=30, help="of each command (default 30)")
    killing.add_argument("--command", choices=[*COMMANDS, "all"], default="embed")
    damaging = tests.add_parser("damage", help="damage a gallery and ask it everything")
    damaging.add_argument("--flips", type=int, default=300, help="of one bit or byte each (default 300)")
    for each in (killing, damaging):
        each.add_argument("--seed", type=int, default=0)
        each.add_argument("--pictures", type=int, default=90, help="in the source (default 90)")
        each.add_argument("--sift", action="store_true", help="a gallery that has keypoints too")
    given = parser.parse_args()
    if given.pictures < 45:
        parser.error("--pictures must be at least 45, or there are too few shards to tell anything")
    if getattr(given, "runs", 1) < 1 or getattr(given, "flips", 1) < 1:
        parser.error("--runs and --flips must be at least 1")
    with mistakes_in_one_line():
        if given.test == "damage":
            result = damage(num_flips=given.flips, seed=given.seed, num_pictures=given.pictures, has_sift=given.sift)
            show_damage(result)
            is_well = not result["problems"]
        else:
            commands = COMMANDS if given.command == "all" else (given.command,)
            results = [
                kill(
                    command,
                    num_runs=given.runs,
                    seed=given.seed,
                    num_pictures=given.pictures,
                    has_sift=given.sift,
                )
                for command in commands
            ]
            show_kills(results)
            is_well = not any(each["problems"] or each["unflushed"] for each in results)
            result = {"commands": results}
    print(json.dumps({"test": given.test, "seed": given.seed, "has_sift": given.sift, "is_well": is_well, **result}))
    raise SystemExit(not is_well)


if __name__ == "__main__":
    main()
