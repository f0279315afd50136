"""Proves and measures the CUDA path, and writes what it found to bench/results.

    make gpu-check                                  an environment of its own, then everything
    python -m bench.gpu_check --models siamese resnet101.onnx --seconds 300

In: a machine with an NVIDIA GPU and `semblance[gpu]`; beside it PyTorch with torchvision, and Keras with JAX, where
they are installed. Out: tables, Markdown for bench/results/README.md, and as the last line on stdout one JSON document,
which is also written to bench/results/gpu-DEVICE-DATE.json. Exit status 0: all is proved, or there is no GPU, which is
said in one line; 1: something is not proved, or the GPU cannot be used, with cause and remedy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from bench import mistakes_in_one_line
from bench.gpu_check.device import find_gpu, none_found
from bench.gpu_check.setting import BATCHES, PARTS

_RACE_BATCHES = (1, 32, 256)


def main() -> int:
    """Run what the command line asks for; the exit status."""
    given = _parse()
    # CUDA would number devices by speed, nvidia-smi by bus
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    gpu = find_gpu()
    if gpu is None:
        print(none_found())
        return 0
    from rich.console import Console  # here, so that a machine without a GPU needs nothing installed

    from bench.gpu_check import result, tables, whole
    from bench.gpu_check.usable import require_usable

    plan = whole.Plan(
        models=given.models,
        parts=given.parts,
        seconds=given.seconds,
        compile_seconds=given.compile_seconds,
        batches=given.batches,
        race_batches=given.race_batches,
        num_images=given.images,
        with_random_network=given.models is None,
    )
    with mistakes_in_one_line():
        require_usable(gpu)
        document = whole.run(plan, gpu, Console(stderr=True))
    path = result.write(document, given.out)
    tables.show(document, Console(width=150))
    print(tables.markdown(document))
    print(f"\nwritten to {path}")
    print(json.dumps(document))
    return 0 if document["passed"] else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="names or fp32 files (default: all that are here)")
    parser.add_argument("--seconds", type=float, default=600.0, help="of measuring, in all (default 600)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all three")
    parser.add_argument("--compile-seconds", type=float, default=60.0,
                        help="of each contender for each batch size, on top of --seconds (default 60)")  # fmt: skip
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), metavar="N")
    parser.add_argument("--race-batches", nargs="+", type=int, default=list(_RACE_BATCHES), metavar="N",
                        help="beside PyTorch and Keras, which compile for each (default 1 32 256)")  # fmt: skip
    parser.add_argument("--images", type=int, help="to prove on (default 5,000 small ones, 1,000 photographs)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results", help="folder for the result")
    given = parser.parse_args()
    if min(*given.batches, *given.race_batches) < 1 or given.seconds <= 0:
        parser.error("--batches and --race-batches must be at least 1, --seconds above 0")
    if given.images is not None and given.images < 22:
        parser.error("--images must be at least 22: ten neighbours of fewer are nearly all there are")
    return given


if __name__ == "__main__":
    sys.exit(main())
