"""What rows 5 to 7 stand on: the photographs of Caltech101, pretrained features of them, and how a ranking is recorded.

In: an exported model, and a place that pictures come from. Out: its vectors with labels, which are kept in the cache,
since all rows ask for the same ones. The photographs and classes of the published experiments are not at hand, nor the
weights of their networks: what is measured is the same procedure with MobileNet on Caltech101, and figures of other
pictures do not compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench import photograph_archive
from bench.originals import ranking
from bench.originals.full_ranking import whole_ranking
from bench.originals.ranking import Queries
from bench.records import Record
from bench.subjects import MOBILENET_ALPHA, MOBILENET_WEIGHTS
from export.images import find_data
from models.pictures import Pictures, read_fitted
from semblance import Encoder
from semblance.card import Metric, ModelCard, read_card
from semblance.errors import SemblanceError
from semblance.files import write_aside
from semblance.home import home
from semblance.inference.models import find_model
from semblance.inputs.resize import fit

if TYPE_CHECKING:
    from models.weights import Opened

Vectors = NDArray[np.float32]

CALTECH = "Caltech101, the first 45 photographs of each class"
OTHER_DATA = "another data set and network: the procedure is the same, the figures do not compare"
_PARITY_IMAGES = 200
_DEPTHS = (*ranking.DEPTHS, 50)


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors [N, D] of a place's usable pictures, with their labels [N], places in `classes`, and uris [N]."""

    vectors: Vectors
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    uris: tuple[str, ...]


# ------------------------------------------------------------------------------------------------------------------
# What is at hand


def caltech() -> str:
    """The archive. Raises SourceError where it is not on this machine."""
    return str(photograph_archive())


def mobilenet_weights() -> str:
    """The file of pretrained weights in SEMBLANCE_DATA or ../shared/data, or "imagenet", which Keras downloads."""
    return str(find_data(MOBILENET_WEIGHTS) or "imagenet")


def mobilenet() -> Path:
    """MobileNet's ONNX file in the cache, exported now where it is not there. Raises WeightsError without weights."""
    return exported("mobilenet", open_mobilenet)


def missing() -> str:
    """Why rows 6 and 7 cannot be measured here, in words; "" where they can. Exports MobileNet."""
    try:
        caltech()
        mobilenet()
    except SemblanceError as error:
        return str(error)
    return ""


def open_mobilenet() -> Opened:
    """It in TensorFlow, with the weights at hand."""
    from models.base import find
    from models.weights import open_original

    return open_original(find("mobilenet", alpha=MOBILENET_ALPHA), mobilenet_weights())


def exported(name: str, open_: Callable[[], Opened], *, is_current: Callable[[Path], bool] = Path.is_file) -> Path:
    """The ONNX file of that name in the cache; `open_` gives what is exported where it is not there, or not current."""
    path = kept_at(f"{name}.onnx")
    if not is_current(path):
        from export.quiet import import_tensorflow_quietly

        import_tensorflow_quietly()
        from export.write import export

        export(open_(), path, num_images=_PARITY_IMAGES)
    return path


def kept_at(name: str) -> Path:
    """Where the originals' measurement keeps a file of that name."""
    return home() / "originals" / name


# ------------------------------------------------------------------------------------------------------------------
# Vectors


def embed(model: str | Path, place: str, *, threads: int = 2) -> Embedded:
    """A place's pictures by an exported model: from the cache where the place is one file that was embedded before."""
    path = find_model(model)
    card = read_card(path)
    kept = _cache_file(card, place)
    if kept is not None and kept.is_file():
        with np.load(kept) as file:
            return Embedded(file["vectors"], file["labels"], tuple(file["classes"]), tuple(file["uris"]))
    pictures = read_for(card, place)
    vectors = Encoder.load(path, backend="cpu", threads=threads, streams=None).embed(pictures.images)
    embedded = Embedded(vectors, pictures.labels, pictures.classes, pictures.uris)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_aside(kept, lambda aside: _save(aside, embedded))
    return embedded


def read_for(card: ModelCard, place: str) -> Pictures:
    """A place's usable pictures, as that model eats them."""
    return read_fitted(place, (card.height, card.width, card.channels), lambda pixels: fit(pixels, card))


def _cache_file(card: ModelCard, place: str) -> Path | None:
    if not Path(place).is_file():
        return None  # a folder's pictures may change under their names
    found = Path(place).stat()
    facts = f"{card.fingerprint} {card.precision} {Path(place).resolve()} {found.st_size} {found.st_mtime_ns}"
    return kept_at(f"features/{hashlib.sha256(facts.encode()).hexdigest()[:24]}.npz")


def _save(path: Path, embedded: Embedded) -> None:
    with path.open("wb") as file:
        np.savez(
            file, vectors=embedded.vectors, labels=embedded.labels, classes=np.array(embedded.classes),
            uris=np.array(embedded.uris),
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------
# Records


def retrieval_record(
    vectors: Vectors, labels: NDArray[np.int64], *, metric: Metric, is_self_included: bool = False, **known: Any
) -> Record:
    """Each of [N, D] asks all others, or all with itself among them, over the whole ranking.

    `known` are the record's other fields. Figures at 50 join those at the usual depths; there are none for each class,
    of which some have eight pictures.
    """
    own = np.arange(len(vectors), dtype=np.int64)
    queries = Queries.others(vectors, labels) if is_self_included else Queries.rows_of(labels, own)
    rows = ranking.exact(vectors, queries, metric=metric, threads=2, depth=max(_DEPTHS))
    whole = whole_ranking(vectors, labels, vectors, labels, own=queries.own, metric=metric)
    figures = ranking.figures(rows, labels, queries, whole=whole, depths=_DEPTHS)
    return {
        "kind": "retrieval",
        "precision": "fp32",
        "search": "exact",
        "metric": metric,
        "num_queries": len(vectors),
        "num_gallery": len(vectors),
        "protocol": "the query is in the gallery" if is_self_included else "leave-one-out",
        **figures,
        "per_class": {},
        "same_10_nearest": None,
        **known,
    }
