# This is the public API of semblance.
"""Find the images that look like an image.

    encoder = semblance.Encoder.load("siamese")
    gallery = semblance.Gallery.build("photos/", encoder, "photos.gallery")
    gallery.search(["query.jpg"], k=5)

The names below are loaded when they are first used, so that importing the package costs a few milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semblance.card import ModelCard, read_card
    from semblance.errors import Closed, DeadlineExceeded, ImageError, Overloaded, SemblanceError, SpaceMismatch
    from semblance.gallery.gallery import Neighbours
    from semblance.gallery.index_options import IndexOptions
    from semblance.gallery.report import BuildReport
    from semblance.inference.backends.options import GpuOptions
    from semblance.inference.batcher import Batcher
    from semblance.inference.encoder import Encoder
    from semblance.inputs.limits import Limits
    from semblance.inputs.sources import open_source
    from semblance.local.pair import match_pictures
    from semblance.local.sift import SiftOptions
    from semblance.rerank import Verification
    from semblance.search import Gallery, Hit

__version__ = "0.1.0"

_MODULES = {
    "Batcher": "inference.batcher",
    "BuildReport": "gallery.report",
    "Closed": "errors",
    "DeadlineExceeded": "errors",
    "Encoder": "inference.encoder",
    "Gallery": "search",
    "GpuOptions": "inference.backends.options",
    "Hit": "search",
    "ImageError": "errors",
    "IndexOptions": "gallery.index_options",
    "Limits": "inputs.limits",
    "ModelCard": "card",
    "Neighbours": "gallery.gallery",
    "Overloaded": "errors",
    "SemblanceError": "errors",
    "SiftOptions": "local.sift",
    "SpaceMismatch": "errors",
    "Verification": "rerank",
    "match_pictures": "local.pair",
    "open_source": "inputs.sources",
    "read_card": "card",
}
__all__ = [
    "Batcher",
    "BuildReport",
    "Closed",
    "DeadlineExceeded",
    "Encoder",
    "Gallery",
    "GpuOptions",
    "Hit",
    "ImageError",
    "IndexOptions",
    "Limits",
    "ModelCard",
    "Neighbours",
    "Overloaded",
    "SemblanceError",
    "SiftOptions",
    "SpaceMismatch",
    "Verification",
    "match_pictures",
    "open_source",
    "read_card",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semblance' has no attribute {name!r}")
    return getattr(import_module(f"semblance.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
