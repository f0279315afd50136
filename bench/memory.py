"""Whether the memory of a build depends on how many pictures there are: the peak of small and large galleries.

    python -m bench.memory mobilenet.onnx --images 4000 40000
    python -m bench.memory siamese --images 4000 40000

In: JPEG files of Caltech101, each several times under other names where there are not enough. Each build is the real
command in a process of its own, which tells its peak as it ends: all memory that was ever resident, code and mapped
files too. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line
from bench.overlap import unpack_photographs

# What the system tells of a process that has ended counts what its parent held when it was started, too
_RUN = """
import atexit, os, pathlib, resource, sys
def tell():
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pathlib.Path(os.environ["PEAK"]).write_text(str(peak))
atexit.register(tell)
import semblance.cli
semblance.cli.main()
"""


def measure(model: str, counts: list[int], options: list[str]) -> list[dict[str, Any]]:
    """Peak bytes and seconds of a build of each number of pictures."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        photographs = unpack_photographs(Path(scratch, "photographs"), max(counts))
        for count in counts:
            folder = Path(scratch, str(count))
            folder.mkdir()
            for number in range(count):
                os.link(photographs[number % len(photographs)], folder / f"{number:08d}.jpg")
            start = time.perf_counter()
            arguments = ["embed", str(folder), "--model", model, "--out", f"{folder}.gallery", *options]
            peak = _peak_bytes(arguments, Path(scratch, "peak"))
            results.append({"images": count, "peak_rss_bytes": peak, "seconds": time.perf_counter() - start})
    return results


def _peak_bytes(arguments: list[str], told: Path) -> int:
    command = [sys.executable, "-c", _RUN, *arguments]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, "PEAK": str(told)}, check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)  # it has said why
    return int(told.read_text())


def main() -> None:
    """Measure, print a table and one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model by name, or an ONNX file")
    parser.add_argument("--images", type=int, nargs="+", default=[4000, 40000], help="default: 4000 40000")
    given, options = parser.parse_known_args()
    with mistakes_in_one_line():
        results = measure(given.model, given.images, options)
    table = Table("images", "peak MiB", "to the first", "seconds", title=f"Peak memory of a build, {given.model}")
    for row in results:
        ratio = row["peak_rss_bytes"] / results[0]["peak_rss_bytes"]
        table.add_row(
            f"{row['images']:,}", f"{row['peak_rss_bytes'] / 2**20:,.0f}", f"{ratio:.3f}", f"{row['seconds']:.1f}"
        )
    Console().print(table)
    print(json.dumps({"model": given.model, "options": options, "builds": results}))


if __name__ == "__main__":
    main()
