"""The engine from nothing: a fresh Python imports it, loads a model and embeds one picture file."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.programs import running

TITLE = "semblance"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime",)

# no batch but this one is to come, so none is met before
_PROGRAM = """
import sys
from semblance import Encoder
encoder = Encoder.load(sys.argv[2], backend="cpu", threads=int(sys.argv[3]), warm_up=False)
print(encoder.embed([sys.argv[1]]).tobytes().hex())
"""


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx)."""
    return running(_PROGRAM, asked["file"], str(asked.threads))
