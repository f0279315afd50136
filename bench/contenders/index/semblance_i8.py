"""The engine's index of bytes and the stored vectors: what a gallery chooses where bytes tell neighbours apart."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.gallery_search import load_as_gallery

TITLE = "semblance, bytes"
ROLE: Role = "engine"
PACKAGES = ("usearch",)


def load(asked: Asked) -> Loaded:
    """Options: `vectors` (.npy), `metric`."""
    return load_as_gallery(asked, "i8")
