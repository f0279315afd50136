"""Programs that start, embed one picture file and end: what contenders of the kind `start_up` run.

In: the text of a Python program, given the path of the picture and whatever else it needs. Out: the embedding float32
[1, D], which it prints in hexadecimal as its last line. The program has the checkout as its folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded

_ROOT = Path(__file__).resolve().parents[2]

# begins a program of an original: opened as `models.weights.open_original` does, without the hash of its weights,
# which nobody who only embeds would compute
OPEN_ORIGINAL = """
import json, sys
from export.quiet import import_tensorflow_quietly
import_tensorflow_quietly()
import tensorflow as tf
from models.base import find
from models.weights import kept, load
path, asked = sys.argv[1], json.loads(sys.argv[2])
tf.config.threading.set_intra_op_parallelism_threads(asked["threads"])
tf.config.threading.set_inter_op_parallelism_threads(1)
original = find(asked["original"], **asked["original_options"])
network = original.network()
load(network, original, asked["weights"])
network = kept(network, original.layer)
"""


def original_options(asked: Asked) -> list[str]:
    """What `OPEN_ORIGINAL` is given after the path."""
    names = ("original", "original_options", "weights")
    return [json.dumps({"threads": asked.threads} | {name: asked[name] for name in names})]


def running(program: str, *arguments: str) -> Loaded:
    """A contender of which each run is that program from its start to its end, given the path of a picture."""

    def run(path: str) -> str:
        command = [sys.executable, "-c", program, path, *arguments]
        ended = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return ended.stdout

    return Loaded(run, answers=_embedding, peak_bytes=_peak_bytes)


def _peak_bytes() -> int | None:
    """The most that any of the programs had in memory; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _embedding(printed: str) -> NDArray[np.float32]:
    return np.frombuffer(bytes.fromhex(printed.splitlines()[-1]), np.float32)[None]
