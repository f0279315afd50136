"""What contenders of the kind `files` share: the engine's encoder as they load it, and its two stages' setting.

In: paths of picture files, as strings, and what to embed with. Out: embeddings float32 [N, D], row i for path i.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contenders import Asked

if TYPE_CHECKING:
    from semblance.inference.encoder import Encoder


def load_encoder(asked: Asked, backend: str) -> Encoder:
    """Options: `file` (.onnx), `batch`. As many threads decode as compute, as where a gallery is built."""
    from semblance.inference.encoder import Encoder
    from semblance.inputs.decode import single_threaded

    single_threaded()  # pictures are decoded side by side, each in one thread
    return Encoder.load(
        asked["file"], backend=backend, threads=asked.threads, workers=asked.threads, streams=None,
        max_batch=asked["batch"],
    )  # fmt: skip
