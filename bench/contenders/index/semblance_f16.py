"""The engine's index of half floats and the stored vectors: what a gallery chooses where bytes do not do."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.gallery_search import load_as_gallery

TITLE = "semblance, f16"
ROLE: Role = "engine"
PACKAGES = ("usearch",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    return load_as_gallery(asked, "f16")
