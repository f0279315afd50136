"""The engine's index of bf16 and the stored vectors."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.gallery_search import load_as_gallery

TITLE = "semblance, bf16"
ROLE: Role = "engine"
PACKAGES = ("usearch",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    return load_as_gallery(asked, "bf16")
