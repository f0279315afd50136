"""The published experiment with SIFT and Lowe's ratio test on Fashion-MNIST; and how far SIFT alone finds a class.

    python -m bench.lowe --out scores.png
    python -m bench.lowe --retrieval 2000
    python -m bench.lowe --retrieval 2000 --mutual

In: the 28 x 28 train images at their own size, all keypoints of each, ratio 0.7. Out: the five published scores, beside
what comes out here, which must be the same: else exit status 1. Then each class's representative, its first train
image, against ten random train images, seeded, the same ten for all: a table of scores and, with --out, a picture. A
score may exceed 100, where several keypoints match the same one of a picture that has few.

--retrieval N is leave-one-out over the first N test images: each is the query, whose keypoints are matched to those of
each other one; these are ranked by score, then by number of matches, then by the lower number in the data set. All that
share no match with the query have score 0, so that where there are fewer matched ones than ranks the last rule fills
them, blindly. A neighbour is right where it has the query's class. With --mutual only matches count that are each
other's nearest. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line
from semblance import metrics
from semblance.draw import Cell, contact_sheet, save_png
from semblance.errors import InputError
from semblance.inputs.datasets import CLASSES, fashion_mnist
from semblance.local.descriptors import DescriptorSets
from semblance.local.matching import match, match_sets, score, scores
from semblance.local.sift import SiftOptions, extract_all

Images = NDArray[np.uint8]  # [N, 28, 28]
Labels = NDArray[np.uint8]  # [N]

PUBLISHED = {
    (10, 1): (66.67, 2),
    (20, 1): (0.0, 0),
    (0, 1): (20.0, 1),
    (10, 10): (100.0, 3),
    (20, 20): (100.0, 2),
}  # two train images by number: score and number of matches
_ALL = SiftOptions(max_keypoints=None, longest_side=None)  # as OpenCV has it by default
_NUM_RANDOM = 10
_DEPTH = 5
_SLICE = 200  # queries matched together with all: their matches are some tens of MB


def descriptors_of(images: Images) -> DescriptorSets:
    """All keypoints' of [N, 28, 28]."""
    return DescriptorSets.join([features.descriptors for features in extract_all(images, _ALL)])


# ------------------------------------------------------------------------------------------------------------------
# As published


@dataclass(frozen=True, slots=True)
class Reproduced:
    """One published pair of train images."""

    pair: tuple[int, int]
    published: tuple[float, int]  # score and number of matches
    found: tuple[float, int]  # the score rounded as it was published

    @property
    def is_equal(self) -> bool:
        """Whether both figures are the published ones."""
        return self.found == self.published


def reproduce(images: Images) -> list[Reproduced]:
    """The five published pairs of the train images."""
    rows = []
    for (i, j), published in PUBLISHED.items():
        sets = descriptors_of(images[[i, j]])
        num = len(match(sets[0], sets[1]))
        rows.append(Reproduced((i, j), published, (round(score(num, len(sets[0]), len(sets[1])), 2), num)))
    return rows


@dataclass(frozen=True, slots=True)
class Representatives:
    """Each class's first image against the same random ones."""

    images: NDArray[np.int64]  # [10] numbers in the data set, by class
    others: NDArray[np.int64]  # [R] ascending
    scores: NDArray[np.float64]  # [10, R]
    num_matches: NDArray[np.int64]  # [10, R]


def represent(images: Images, labels: Labels, *, num: int = _NUM_RANDOM, seed: int = 0) -> Representatives:
    """Score each class's first image against `num` random ones."""
    first = np.array([np.flatnonzero(labels == label)[0] for label in range(len(CLASSES))])
    others = np.sort(np.random.default_rng(seed).choice(len(images), num, replace=False))
    queries, train = descriptors_of(images[first]), descriptors_of(images[others])
    counts = match_sets(queries, train).counts(len(queries), len(train))
    return Representatives(first, others, scores(counts, queries.counts, train.counts), counts)


def sheet(images: Images, labels: Labels, found: Representatives) -> NDArray[np.uint8]:
    """A row for each class: its representative, and the random images, those of the highest scores first."""
    rows = []
    for label, representative in enumerate(found.images):
        order = np.argsort(-found.scores[label], kind="stable")
        cells = [
            Cell(
                images[found.others[column]],
                CLASSES[labels[found.others[column]]],
                bool(labels[found.others[column]] == label),
                f"{found.scores[label, column]:.2f} %, {found.num_matches[label, column]} matches",
            )
            for column in order
        ]
        rows.append((Cell(images[representative], CLASSES[label]), cells))
    return contact_sheet(rows, title="Scores of SIFT and Lowe's ratio test", cell_px=130)


# ------------------------------------------------------------------------------------------------------------------
# Retrieval


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Means over all queries."""

    num_images: int
    is_mutual: bool
    precision_at_1: float
    precision_at_5: float
    num_without_keypoints: int  # queries for which all is a tie
    num_without_match: int  # these, and those that match nothing
    num_with_fewer_than_5: int  # other images matched: the rest of the five are blind


def retrieve(images: Images, labels: Labels, *, mutual: bool = False) -> Retrieval:
    """Each of [N, 28, 28] against all others."""
    sets = descriptors_of(images)
    rows = np.empty((len(images), _DEPTH), np.int64)
    num_matched = np.empty(len(images), np.int64)
    for start in range(0, len(images), _SLICE):
        queries = np.arange(start, min(start + _SLICE, len(images)))
        part = DescriptorSets.join([sets[number] for number in queries])
        counts = match_sets(part, sets, mutual=mutual).counts(len(queries), len(sets))  # [q, N]
        counts[np.arange(len(queries)), queries] = 0  # itself
        num_matched[queries] = np.count_nonzero(counts, axis=1)
        rows[queries] = ranked(scores(counts, part.counts, sets.counts), counts, queries)[:, :_DEPTH]
    relevant = metrics.relevance(labels[rows], labels)  # [N, 5]
    return Retrieval(
        num_images=len(images),
        is_mutual=mutual,
        precision_at_1=float(metrics.precision_at_k(relevant, 1).mean()),
        precision_at_5=float(metrics.precision_at_k(relevant, _DEPTH).mean()),
        num_without_keypoints=int((sets.counts == 0).sum()),
        num_without_match=int((num_matched == 0).sum()),
        num_with_fewer_than_5=int((num_matched < _DEPTH).sum()),
    )


def ranked(scored: NDArray[np.float64], counts: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """The others of each query by falling score [Q, N], then falling count, then rising number: [Q, N - 1]."""
    numbers = np.broadcast_to(np.arange(scored.shape[1]), scored.shape)
    return metrics.leave_one_out(np.lexsort((numbers, -counts, -scored)), own)


# ------------------------------------------------------------------------------------------------------------------
# What is printed


def show(reproduced: list[Reproduced], found: Representatives, labels: Labels, retrieval: Retrieval | None) -> None:
    """The tables for people."""
    console = Console(width=150)
    table = Table("train images", "published", "matches", "here", "matches", "", title="The published scores")
    for row in reproduced:
        (published, published_num), (here, num) = row.published, row.found
        table.add_row(
            f"{row.pair[0]}, {row.pair[1]}", f"{published:.2f} %", str(published_num), f"{here:.2f} %", str(num),
            "equal" if row.is_equal else "DIFFERS",
        )  # fmt: skip
    console.print(table)
    table = Table("class, first image", title="Scores against random train images")
    for number in found.others:
        table.add_column(f"{CLASSES[labels[number]]}\n{number}", justify="right")
    for label, representative in enumerate(found.images):
        table.add_row(f"{CLASSES[label]}, {representative}", *(f"{each:.2f}" for each in found.scores[label]))
    console.print(table)
    if retrieval is not None:
        table = Table("images", "P@1", "P@5", "no keypoints", "no match", "fewer than 5 matched")
        table.title = "Leave-one-out" + (", mutual matches" if retrieval.is_mutual else "")
        table.add_row(
            f"{retrieval.num_images:,}", f"{retrieval.precision_at_1:.4f}", f"{retrieval.precision_at_5:.4f}",
            str(retrieval.num_without_keypoints), str(retrieval.num_without_match),
            str(retrieval.num_with_fewer_than_5),
        )  # fmt: skip
        console.print(table)


def document(reproduced: list[Reproduced], found: Representatives, retrieval: Retrieval | None) -> dict[str, Any]:
    """The last line of stdout."""
    return {
        "reproduced": [asdict(row) | {"is_equal": row.is_equal} for row in reproduced],
        "representatives": {
            "images": found.images.tolist(),
            "others": found.others.tolist(),
            "scores": np.round(found.scores, 4).tolist(),
            "num_matches": found.num_matches.tolist(),
        },
        "retrieval": None if retrieval is None else asdict(retrieval),
    }


def main() -> None:
    """Reproduce, and measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.lowe", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="a picture of the representatives' scores")
    parser.add_argument("--seed", type=int, default=0, help="of the random images (default 0)")
    parser.add_argument("--retrieval", type=int, default=0, metavar="N", help="leave-one-out over N test images")
    parser.add_argument("--mutual", action="store_true", help="there, only matches that are each other's nearest")
    given = parser.parse_args()
    if given.seed < 0 or given.retrieval < 0:
        parser.error("--seed and --retrieval must not be negative")
    with mistakes_in_one_line():
        images, labels = fashion_mnist("train")
        reproduced = reproduce(images)
        found = represent(images, labels, seed=given.seed)
        if given.out is not None:
            save_png(given.out, sheet(images, labels, found))
        retrieval = None
        if given.retrieval:
            test_images, test_labels = fashion_mnist("test")
            if not _DEPTH < given.retrieval <= len(test_images):
                raise InputError(f"--retrieval must lie in {_DEPTH + 1}..{len(test_images)}, is {given.retrieval}")
            retrieval = retrieve(test_images[: given.retrieval], test_labels[: given.retrieval], mutual=given.mutual)
    show(reproduced, found, labels, retrieval)
    print(json.dumps(document(reproduced, found, retrieval)))
    if not all(row.is_equal for row in reproduced):
        print("error: a published score does not come out; see DIFFERS above", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
