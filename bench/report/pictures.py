"""Pictures made when the report is: the originals' queries with their neighbours, and a map of embeddings.

In: nothing but the shipped encoders and Fashion-MNIST, where it lies on this machine; nothing is downloaded. Out: data
URIs and an SVG. The queries are those that the experiments drew, by their seeds, or for lack of one by ours. These
pictures show data that may not be handed on, which is why a report is not part of the checkout.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.report import html, svg, words
from bench.report.palette import CLASSES as CLASS_COLORS
from semblance import Encoder
from semblance.draw import Cell, Row, contact_sheet
from semblance.errors import SemblanceError
from semblance.gallery.exact import search_exact
from semblance.inputs.datasets import CLASSES, fashion_mnist

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]

_TSNE_IMAGES = 2_000  # as the Siamese experiment showed
_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Which queries of which gallery are shown."""

    model: str
    num_gallery: int  # the first so many test images
    num_queries: int
    seed: int
    said: str


_SHEETS = (
    _Sheet("autoencoder", 10_000, 3, 1, "the three queries that the experiment drew (seed 1) among all test images"),
    _Sheet("siamese", 2_000, 4, 0, "four queries (seed 0) among the first 2,000 test images, the experiment's gallery"),
    _Sheet("siamese.int8", 2_000, 4, 0, "the same queries in int8"),
)  # fmt: skip


def pictures_sections(*, is_wanted: bool) -> list[str]:
    """Both sections; each says why it is empty, where it is."""
    sheets, plot = "Queries and their neighbours", "A map of 2,000 embeddings"
    if not is_wanted:
        why = html.missing("Left out, as asked (--no-embeddings).")
        return [html.section("sheets", sheets, why), html.section("map", plot, why)]
    try:
        images, labels = fashion_mnist("test", allow_download=False)
    except SemblanceError as error:
        why = html.missing(f"Fashion-MNIST is not on this machine, so nothing is shown: {error}")
        return [html.section("sheets", sheets, why), html.section("map", plot, why)]
    absent = html.note(
        "Other originals' queries are not shown: their encoders are not shipped, and their galleries take minutes."
    )
    return [
        html.section("sheets", sheets, *(_shown(each, images, labels) for each in _SHEETS), absent),
        html.section("map", plot, _map(images[:_TSNE_IMAGES], labels[:_TSNE_IMAGES])),
    ]


def sheet(encoder: Encoder, images: Images, labels: Labels, queries: Sequence[int], k: int = _NEIGHBOURS) -> Images:
    """Rows of `images` [N, H, W] asked among all, each left out of its own answer, as a picture."""
    own = np.array(queries)
    vectors = encoder.embed(images)
    found, distances = search_exact(vectors[own], vectors, k=k, metric=encoder.card.metric, exclude=own)[:2]
    rows: list[Row] = []
    for query, neighbours, far in zip(own, found, distances, strict=True):
        asked = Cell(images[query], CLASSES[labels[query]], detail=f"image {query}")
        answers = [
            Cell(images[row], CLASSES[labels[row]], bool(labels[row] == labels[query]), words.number(float(distance)))
            for row, distance in zip(neighbours, far, strict=True)
        ]
        rows.append((asked, answers))
    return contact_sheet(rows, cell_px=84)


def data_uri(image: Images) -> str:
    """[H, W, 3] uint8 RGB as WebP within an address."""
    encoded = cv2.imencode(".webp", image[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 82])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()


def embedded_in_plane(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """t-SNE of [N, D]: [N, 2], the same each time. Raises ImportError without scikit-learn."""
    from sklearn.manifold import TSNE  # takes a second to import, and only this needs it

    plane: NDArray[np.float32] = TSNE(init="pca", random_state=0, perplexity=30, max_iter=500).fit_transform(vectors)
    return plane


# ------------------------------------------------------------------------------------------------------------------


def _shown(asked: _Sheet, images: Images, labels: Labels) -> str:
    try:
        encoder = Encoder.load(asked.model, backend="cpu")
    except SemblanceError as error:
        return html.missing(f"{asked.model}: {error}")
    np.random.seed(asked.seed)  # noqa: NPY002  # the experiment's generator: another one draws other queries
    queries = np.random.choice(asked.num_gallery, asked.num_queries, replace=False)  # noqa: NPY002
    drawn = sheet(encoder, images[: asked.num_gallery], labels[: asked.num_gallery], queries.tolist())
    caption = f"{asked.model}: {asked.said}; class and distance below each, nearest first"
    return html.picture(data_uri(drawn), f"Contact sheet of {asked.model}", caption)


def _map(images: Images, labels: Labels) -> str:
    try:
        plane = embedded_in_plane(Encoder.load("siamese", backend="cpu").embed(images))
    except ImportError:
        return html.missing("scikit-learn is not installed, so there is no map (pip install scikit-learn).")
    except SemblanceError as error:
        return html.missing(f"siamese: {error}")
    groups = [
        (name, color, [(float(x), float(y)) for x, y in plane[labels == number]])
        for number, (name, color) in enumerate(zip(CLASSES, CLASS_COLORS, strict=True))
    ]
    said = html.note(
        "t-SNE (perplexity 30, seed 0) of the siamese embeddings of the first 2,000 test images, coloured by class. "
        "Nearness within a cloud means something, distances between clouds do not."
    )
    key = html.key((name, color) for name, color, _ in groups)
    return said + key + f'<figure class="wide">{svg.cloud("t-SNE of siamese embeddings by class", groups)}</figure>'
