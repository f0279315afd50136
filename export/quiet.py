"""TensorFlow's first import without its chatter, and without a GPU.

In: nothing. Out: TensorFlow imported, stderr as it was before. Its C++ parts greet on the file descriptor itself before
any of its own settings is read, and it would take all of a GPU's memory for a conversion on the CPU.
"""

from __future__ import annotations

import os
import sys


def import_tensorflow_quietly() -> None:
    """Import TensorFlow on the CPU; what it prints while doing so is dropped, what it raises is not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
