"""Result files: JSON lines, of which the first describes the run and each other one is something that was measured.

In: records, dicts with a `kind`, appended one by one, so that a run that is stopped leaves what it has. Out: the same,
read back as `Results`. A record holds what was measured and nothing that follows from it: medians, ratios, tables and
pictures are made from files, later. Its fields, by kind (README.md of `bench/results` explains them):

    run        format, started, commit, profile, machine, threads, versions
    race       suite, race, workload, subject, contender, role, backend, precision, threads, is_decode_inside,
               items, seconds, load_s, peak_bytes, answers, operations_per_item, versions
    absent     suite, race, contender, precision, reason
    retrieval  row, original, weights, data, protocol, runtime, precision, search, metric, num_queries, num_gallery,
               at_k, map, mean_rank, per_class, same_10_nearest
    published  row, original, figure, published, reproduced, is_exact, note
    scenario   what `bench.scenarios` gives
    stages     subject, seconds by stage, wall_s, num_images
    check      claim, found, holds
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from semblance.errors import InputError
from semblance.instructions import flags

Record = dict[str, Any]

FORMAT = 1
RESULTS = Path(__file__).with_name("results")
KINDS = ("run", "race", "absent", "retrieval", "published", "scenario", "stages", "check")
ROLES = ("original", "engine", "peer", "ceiling", "known")  # of a contender in a race
# Instructions that arithmetic on arrays is made of, as Linux calls them
_MATTERS = re.compile(r"(sse4|avx|fma|f16c|amx|asimd|i8mm|bf16|sve)")


@dataclass(frozen=True, slots=True)
class Results:
    """One file, read."""

    path: Path
    run: Record
    records: list[Record] = field(default_factory=list)

    def of(self, kind: str, **fields: Any) -> list[Record]:
        """The records of a kind whose fields are these, in the order they were written."""
        return [
            each
            for each in self.records
            if each["kind"] == kind and all(each.get(name) == value for name, value in fields.items())
        ]


class Writer:
    """A result file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begin(cls, path: Path, *, profile: str, threads: int, packages: tuple[str, ...]) -> Writer:
        """A new file that describes this run; `profile` is "quick" or "full". Replaces a file of that name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        writer = cls(path)
        writer.append(described_run(profile=profile, threads=threads, packages=packages))
        return writer

    def append(self, record: Record) -> None:
        """Add a record. Raises InputError for a kind that there is not."""
        if record.get("kind") not in KINDS:
            raise InputError(f"a record's kind must be one of {', '.join(KINDS)}, is {record.get('kind')!r}")
        line = json.dumps(record, separators=(",", ":"), allow_nan=False)
        with self.path.open("a") as file:
            file.write(line + "\n")


def described_run(*, profile: str, threads: int, packages: tuple[str, ...]) -> Record:
    """The first record of a file."""
    described = machine(*packages)
    return {
        "kind": "run",
        "format": FORMAT,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "profile": profile,
        "threads": threads,
        "versions": described.pop("versions"),
        "machine": described | {"cpu_features": sorted(each for each in flags() or () if _MATTERS.match(each))},
    }


def read(path: Path) -> Results:
    """A result file. Raises InputError where it is none, or of another format, naming the line."""
    if not path.is_file():
        raise InputError(f"{path} is not there; run `make bench`, or name a file of bench/results/")
    records = list(_lines(path))
    if not records or records[0].get("kind") != "run":
        raise InputError(f"{path} does not begin with the description of a run; it is no result file")
    if records[0].get("format") != FORMAT:
        raise InputError(f"{path} is of format {records[0].get('format')}, this is a reader of format {FORMAT}")
    return Results(path, records[0], records[1:])


def newest(folder: Path = RESULTS) -> Path:
    """The result file that was begun last. Raises InputError where there is none."""
    begun = {path: _begun(path) for path in sorted(folder.glob("*.jsonl"))}
    if not begun:
        raise InputError(f"{folder} has no result file; run `make bench`")
    return max(begun, key=lambda path: begun[path])


def _begun(path: Path) -> str:
    """When it was begun; nothing but its first line is read, since a run may be writing its last."""
    with path.open() as file:
        try:
            return str(json.loads(file.readline())["started"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} does not begin with the description of a run; it is no result file") from error


def _lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(record, dict) or record.get("kind") not in KINDS:
            raise InputError(f"{path}, line {number} is no record of a kind that is known")
        yield record


def _commit() -> str | None:
    """The checkout's commit, with a + where files differ from it; None outside a checkout."""
    try:
        here = Path(__file__).parent
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True)
    except OSError:
        return None
    return (head.stdout.strip() + ("+" if changed.stdout.strip() else "")) if head.returncode == 0 else None
