"""A folder of damaged pictures, bombs and oddities through the real command, which must take all of it in its stride.

    python -m bench.bad_images
    python -m bench.bad_images --files 2000 --seed 7

`semblance embed FOLDER --model siamese --json` runs as a process of its own. Then this must hold: it ends well; every
good picture is in the gallery, in its right size; every surely bad file is in errors.parquet with stage and reason; no
file is in both or in neither; its memory stayed below 1.5 GB; and on stderr are no words but its own and the lines that
libjpeg and libpng write there themselves, past everybody. What may be either is looked at with Pillow, where that is
installed: whether a picture that was taken has the size and the pixels that Pillow sees. Tables, then one JSON document
as the last line; it ends with 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line
from bench.damage import Folder, Made, make_folder
from export.images import find_photographs, read_photographs
from semblance.inputs.decode import decode

MAX_BYTES = 8 * 1024 * 1024  # no picture here has as many, and a file with one more costs nothing to make
MOST_MEMORY_BYTES = 1_500_000_000
_NUM_PHOTOS = 24
_LIBRARIES = re.compile(
    r"libpng (warning|error): |Corrupt JPEG data: |Premature end of JPEG|Invalid SOS parameters"
    r"|Inconsistent progression|Warning: unknown JFIF|Unknown Adobe color|Application transferred too"
)
_SAME = 2  # levels: two decoders of one standard round differently

# The peak is asked for by a small process in between: what the kernel tells of a child begins with its parent's memory
_WATCHED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(str(peak * (1 if sys.platform == "darwin" else 1024)))
sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(slots=True)
class Outcome:
    """What the command did."""

    code: int
    stderr: list[str]
    peak_rss_bytes: int | None  # None where the system does not tell
    taken: dict[str, tuple[int, int]]  # uri -> height and width of its row
    refused: dict[str, dict[str, str]] = field(default_factory=dict)  # uri -> stage, error and message


def embed(folder: Path, gallery: Path) -> Outcome:
    """Run the command, and read what it wrote; a command that fails leaves no rows."""
    told = gallery.with_name("peak")
    program = "import sys; from semblance.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "embed", str(folder), "--model", "siamese", "--out", str(gallery)]
    command += ["--max-bytes", str(MAX_BYTES), "--json"]
    watched = [sys.executable, "-c", _WATCHED, str(told)] if sys.platform != "win32" else []
    ended = subprocess.run([*watched, *command], capture_output=True, text=True, errors="replace", check=False)
    peak = int(told.read_text()) if told.exists() else None
    outcome = Outcome(ended.returncode, ended.stderr.splitlines(), peak, {})
    if ended.returncode == 0:
        for shard in sorted((gallery / "shards").glob("*.parquet")):
            for row in pq.read_table(shard, columns=["uri", "height", "width"]).to_pylist():
                outcome.taken[row["uri"]] = (row["height"], row["width"])
        for row in pq.read_table(gallery / "errors.parquet").to_pylist():
            outcome.refused[row["uri"]] = row
    return outcome


def problems(files: list[Made], outcome: Outcome) -> list[str]:
    """Everything that is not as it must be, in words; nothing where all is well."""
    found = [] if outcome.code == 0 else [f"the command ended with {outcome.code}: {outcome.stderr[-3:]}"]
    expected = {made.uri for made in files if made.verdict != "no file"}
    found += [f"{uri}: in the gallery and in errors.parquet" for uri in outcome.taken.keys() & outcome.refused.keys()]
    found += [f"{uri}: in neither" for uri in sorted(expected - outcome.taken.keys() - outcome.refused.keys())]
    found += [f"{uri}: no such file" for uri in sorted((outcome.taken.keys() | outcome.refused.keys()) - expected)]
    for made in files:
        row = outcome.refused.get(made.uri)
        if made.verdict == "good" and row is not None:
            found.append(f"{made.uri}: good, and refused: {row['message']}")
        if made.verdict == "good" and outcome.taken.get(made.uri, made.size) != made.size:
            found.append(f"{made.uri}: is {made.size}, came out as {outcome.taken[made.uri]}")
        if made.verdict == "bad" and made.uri in outcome.taken:
            found.append(f"{made.uri}: bad, and taken")
        if row is not None:
            reason = row["message"].removeprefix(f"{made.uri}: ")
            if row["stage"] != (made.stage or "decode") or not row["error"] or not reason or "\n" in reason:
                found.append(f"{made.uri}: refused at {row['stage']!r} by {row['error']!r}: {row['message']!r}")
    if outcome.peak_rss_bytes is not None and outcome.peak_rss_bytes > MOST_MEMORY_BYTES:
        found.append(f"{outcome.peak_rss_bytes / 1e6:,.0f} MB of memory, at most {MOST_MEMORY_BYTES / 1e6:,.0f}")
    return found + [f"on stderr: {line}" for line in _spoken(outcome.stderr)["others'"]]


def _spoken(stderr: list[str]) -> dict[str, list[str]]:
    """The lines by who wrote them; the command's own is the model and what it runs on."""
    spoken: dict[str, list[str]] = {"our own": [], "libraries'": [], "others'": []}
    for line in stderr:
        is_own = re.match(r"siamese: .*Provider", line) is not None
        spoken["our own" if is_own else "libraries'" if _LIBRARIES.match(line) else "others'"].append(line)
    return spoken


# ------------------------------------------------------------------------------------------------------------------
# Damage that may pass


def compare(folder: Path, files: list[Made], outcome: Outcome) -> dict[str, dict[str, int]]:
    """By damage, of the taken ones that may be either: how many have Pillow's pixels, only its size, or neither."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return {}
    Image.MAX_IMAGE_PIXELS = None  # bombs are what this is about
    agreement: dict[str, Counter[str]] = {}
    for made in files:
        if made.verdict != "either" or made.uri not in outcome.taken:
            continue
        ours = decode(folder / made.uri, channels=3)
        try:
            with Image.open(folder / made.uri) as image:
                image.load()
                theirs = _over_white(ImageOps.exif_transpose(image), made.uri)
        except Exception:  # whatever it is, Pillow does not take this file
            said = "Pillow refuses it"
        else:
            said = _agreement(ours, theirs)
        agreement.setdefault(made.damage, Counter())[said] += 1
    return {damage: dict(counts) for damage, counts in agreement.items()}


def _over_white(image: Any, uri: str) -> NDArray[np.int64]:
    """[H, W, 3] as our rules have it, of what Pillow decoded."""
    if image.mode.startswith("I;16"):
        return np.repeat(((np.asarray(image).astype(np.int64) * 255 + 32767) // 65535)[..., None], 3, axis=2)
    if image.mode == "CMYK" and not uri.endswith("adobe.jpg"):  # Pillow takes every CMYK JPEG for Adobe's
        stored = np.asarray(image).astype(np.int64)
        return (stored[..., :3] * stored[..., 3:] + 127) // 255
    rgba = np.asarray(image.convert("RGBA")).astype(np.int64)
    color, alpha = rgba[..., :3], rgba[..., 3:]
    return (color * alpha + 255 * (255 - alpha) + 127) // 255


def _agreement(ours: NDArray[np.uint8], theirs: NDArray[np.int64]) -> str:
    if ours.shape != theirs.shape:
        return "another size"
    return "the same pixels" if np.abs(ours - theirs).max() <= _SAME else "the same size"


# ------------------------------------------------------------------------------------------------------------------


def measure(num_files: int, seed: int, bomb_side: int) -> dict[str, Any]:
    """Make the folder, embed it, judge it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "pictures")
        made = make_folder(
            folder, _photographs(), num_files=num_files, seed=seed, max_bytes=MAX_BYTES, bomb_side=bomb_side
        )
        outcome = embed(folder, Path(scratch, "gallery"))
        agreement = compare(folder, made.files, outcome)
    return _report(made, outcome, agreement, seed)


def _report(made: Folder, outcome: Outcome, agreement: dict[str, dict[str, int]], seed: int) -> dict[str, Any]:
    by_damage: dict[str, Counter[str]] = {}
    for each in made.files:
        counts = by_damage.setdefault(each.damage, Counter(files=0, refused=0, taken=0))
        counts.update(("files", each.verdict))
        counts["refused"] += each.uri in outcome.refused
        counts["taken"] += each.uri in outcome.taken
    spoken = _spoken(outcome.stderr)
    said = Counter(re.sub(r"(0x)?[0-9a-f]*[0-9][0-9a-f]*", "N", line) for line in spoken["libraries'"])
    return {
        "num_files": len(made.files),
        "seed": seed,
        "verdicts": dict(Counter(each.verdict for each in made.files)),
        "num_taken": len(outcome.taken),
        "num_refused": len(outcome.refused),
        "by_damage": {damage: dict(counts) for damage, counts in by_damage.items()},
        "taken_though_damaged": agreement,
        "exit_code": outcome.code,
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "stderr_lines": {who: len(lines) for who, lines in spoken.items()},
        "stderr_of_libraries": dict(said.most_common()),
        "left_out": made.left_out,
        "problems": problems(made.files, outcome),
    }


def _photographs() -> list[NDArray[np.uint8]]:
    """Real ones where they are on this machine, or soft blots of about that size."""
    if (archive := find_photographs()) is not None:
        return list(read_photographs(archive, _NUM_PHOTOS))
    rng = np.random.default_rng(0)
    blots = (cv2.GaussianBlur(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8), (0, 0), 6) for _ in range(8))
    return [cv2.normalize(each, np.empty_like(each), 0, 255, cv2.NORM_MINMAX).astype(np.uint8) for each in blots]


def _tables(result: dict[str, Any]) -> list[Table]:
    table = Table("damage", title=f"{result['num_files']} files through semblance embed")
    for heading in ("files", "good", "surely bad", "either", "refused", "taken"):
        table.add_column(heading, justify="right")
    for damage, counts in result["by_damage"].items():
        keys = ("files", "good", "bad", "either", "refused", "taken")
        table.add_row(damage, *(f"{counts[key]:,}" if counts.get(key) else "" for key in keys))
    peak = result["peak_rss_bytes"]
    facts = Table(show_header=False)
    facts.add_row("exit code", str(result["exit_code"]))
    facts.add_row("peak memory", "not told by this system" if peak is None else f"{peak / 1e6:,.0f} MB")
    for who, number in result["stderr_lines"].items():
        facts.add_row(f"lines on stderr: {who}", str(number))
    passed = sum((Counter(counts) for counts in result["taken_though_damaged"].values()), Counter())
    for said, number in passed.items():
        facts.add_row(f"damaged and taken: {said}", str(number))
    for each in result["left_out"]:
        facts.add_row("left out", each)
    return [table, facts]


def main() -> None:
    """Measure, print tables and one JSON document."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bad_images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=480, help="at least so many (default 480)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default 0)")
    parser.add_argument(
        "--bomb-side", type=int, default=9_900, help="of the large pictures in small files (default 9900: just allowed)"
    )
    given = parser.parse_args()
    with mistakes_in_one_line():
        result = measure(given.files, given.seed, given.bomb_side)
    console = Console()
    for table in _tables(result):
        console.print(table)
    for each in result["problems"]:
        console.print(f"NOT AS IT MUST BE: {each}", markup=False, highlight=False, soft_wrap=True)
    print(json.dumps(result))
    raise SystemExit(1 if result["problems"] else 0)


if __name__ == "__main__":
    main()
