"""Whether keypoints pay: altered photographs of Caltech101 as queries, by embedding, by SIFT, and by both.

    python -m bench.rerank mobilenet.onnx
    python -m bench.rerank mobilenet.onnx --gallery caltech101.gallery --queries 300

In: all photographs as a gallery with keypoints (made, unless one is given), and some of them each turned, scaled,
cropped and compressed again by seeded amounts. Out: recall@1, the share whose own original comes first, of embeddings
alone, of SIFT alone, by Lowe's score as the original has it and by inliers, and of a shortlist by embeddings that is
put in order by inliers; and the time that the last takes for one query, from the query's keypoints on. Caltech101 has
the photographs of `Faces` once more in `Faces_easy`, cropped: which of the two an altered copy is of, nothing in it can
say, so recall is also given with either as right. The last line on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import machine, mistakes_in_one_line, photograph_archive
from semblance.errors import SourceError
from semblance.gallery.pieces import stretches
from semblance.inference.encoder import Encoder
from semblance.inputs.decode import decode
from semblance.inputs.sources import open_source
from semblance.local.descriptors import DescriptorSets
from semblance.local.matching import match_one_to_many, scores
from semblance.local.sift import Features, SiftOptions, extract
from semblance.rerank import KeypointSearch, Verification
from semblance.search import Gallery, sift_options

_TURN, _SCALE, _CROP, _QUALITY = (
    (-30, 30),
    (0.5, 1.5),
    (0.6, 0.95),
    (20, 70),
)  # degrees, factor, share of a side, JPEG's
_DESCRIPTORS = 1 << 20  # compared at once


def altered(encoded: bytes, rng: np.random.Generator) -> bytes:
    """A JPEG file of the photograph turned about its middle, scaled, cropped at random and compressed again."""
    pixels = decode(encoded, channels=3)
    height, width = pixels.shape[:2]
    turn, scale, share, quality = (rng.uniform(*each) for each in (_TURN, _SCALE, _CROP, _QUALITY))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale)
    size = round(width * scale), round(height * scale)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    border = cv2.BORDER_REPLICATE
    turned = cv2.warpAffine(
        pixels, matrix, size, flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR, borderMode=border
    )
    rows, columns = (max(16, round(side * share)) for side in turned.shape[:2])
    top, left = (
        int(rng.integers(0, side - part + 1)) for side, part in zip(turned.shape[:2], (rows, columns), strict=True)
    )
    cropped = np.ascontiguousarray(turned[top : top + rows, left : left + columns])
    _, found = cv2.imencode(".jpg", cropped[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return bytes(found)


def queries_of(gallery: Gallery, num: int, seed: int) -> tuple[NDArray[np.int64], list[bytes]]:
    """Keys of `num` photographs, drawn at random, and each altered."""
    keys = np.sort(np.random.default_rng(seed).choice(gallery.vectors.keys, num, replace=False))
    wanted = set(keys.tolist())
    archive = photograph_archive()
    found = [
        altered(item.content, np.random.default_rng([seed, key]))
        for key, item in enumerate(open_source(archive))
        if key in wanted and isinstance(item.content, bytes)
    ]
    if len(found) != num:
        raise SourceError(f"{gallery.vectors.path} is no gallery of {archive}; leave --gallery out to make one")
    return keys, found


def same_photographs(uris: list[str], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `keys` [N] the lowest one whose uri names the same photograph, [N]."""
    first: dict[str, int] = {}
    names = [uri.replace("Faces_easy/", "Faces/") for uri in uris]
    return np.array([first.setdefault(name, key) for name, key in zip(names, keys.tolist(), strict=True)], np.int64)


def by_score(gallery: Gallery, query: Features, how: Verification) -> int:
    """The key of the picture with the highest of Lowe's scores, the lowest of equal ones: as the original ranks."""
    stored, rows = gallery.vectors.keypoints, np.arange(len(gallery))
    assert stored is not None
    counts = np.concatenate(
        [
            match_one_to_many(
                query.descriptors, DescriptorSets(*stored.take(rows[part])), ratio=how.ratio, threads=how.threads
            ).counts(1, part.stop - part.start)[0]
            for part in stretches(stored.counts(rows), _DESCRIPTORS)
        ]
    )
    found = scores(counts[None], np.array([len(query)]), stored.counts(rows))[0]
    return int(gallery.vectors.keys[found.argmax()])


def measure(gallery: Gallery, *, num: int, seed: int, how: Verification, threads: int) -> dict[str, Any]:
    """Recall@1 each way, and the seconds of each query's matching and geometry."""
    keys, pictures = queries_of(gallery, num, seed)
    options = sift_options(gallery.vectors)
    assert options is not None
    near = gallery.search(pictures, min(how.shortlist, len(gallery)))
    search = KeypointSearch(gallery.vectors, options, how)
    features = [extract(picture, options) for picture in pictures]
    search.evidence(features[0], near.keys[0])  # warm-up
    first: dict[str, list[int]] = {
        "embedding": near.keys[:, 0].tolist(),
        "SIFT score": [],
        "SIFT inliers": [],
        "embedding + SIFT": [],
    }
    seconds, alone = [], []
    for row, query in enumerate(features):
        start = time.perf_counter()
        evidence = search.evidence(query, near.keys[row])
        order = evidence.order(near.distances[row], near.keys[row])
        seconds.append(time.perf_counter() - start)
        first["embedding + SIFT"].append(int(near.keys[row, order[0]]))
    for query in features:
        start = time.perf_counter()
        first["SIFT inliers"].append(int(search.rank(query, 1)[0][0]))
        alone.append(time.perf_counter() - start)
        first["SIFT score"].append(by_score(gallery, query, how))
    all_keys = gallery.vectors.keys
    same = same_photographs(gallery.vectors.uris, all_keys)
    as_one = {name: same[np.searchsorted(all_keys, each)] for name, each in (first | {"": keys}).items()}
    right = as_one.pop("")
    return {
        "recall_at_1": {name: float(np.mean(np.array(each) == keys)) for name, each in first.items()},
        "recall_at_1_either": {name: float(np.mean(each == right)) for name, each in as_one.items()},
        "in_shortlist": float((near.keys == keys[:, None]).any(axis=1).mean()),
        "rerank_ms": {f"p{each}": 1e3 * float(np.percentile(seconds, each)) for each in (50, 95, 99)},
        "sift_alone_ms": {f"p{each}": 1e3 * float(np.percentile(alone, each)) for each in (50, 95)},
        "keypoints": float(np.mean([len(each) for each in features])),
        "queries": num,
        "gallery": len(gallery),
        "seed": seed,
        "threads": threads,
    }


def main() -> None:
    """Measure, print a table and one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model by name, or an ONNX file")
    parser.add_argument("--gallery", type=Path, help="one of all photographs, made with --sift; default: make one")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortlist", type=int, default=100)
    parser.add_argument("--ratio", type=float, default=Verification().ratio)
    parser.add_argument("--threshold", type=float, default=Verification().threshold)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    described = machine("opencv-python-headless", "onnxruntime", "numpy")
    with mistakes_in_one_line(), tempfile.TemporaryDirectory() as scratch:
        how = Verification(given.ratio, threshold=given.threshold, shortlist=given.shortlist, threads=given.threads)
        encoder = Encoder.load(given.model, threads=given.threads)
        if given.gallery is None:
            photographs = open_source(photograph_archive())
            gallery = Gallery.build(photographs, encoder, Path(scratch, "gallery"), sift=SiftOptions())
        else:
            gallery = Gallery.open(given.gallery, encoder)
        result = measure(gallery, num=given.queries, seed=given.seed, how=how, threads=given.threads)
    table = Table(
        "by", "recall@1", "or its double", title=f"{given.queries} altered photographs among {result['gallery']:,}"
    )
    for name, value in result["recall_at_1"].items():
        table.add_row(name, f"{value:.4f}", f"{result['recall_at_1_either'][name]:.4f}")
    table.add_row("in the shortlist", f"{result['in_shortlist']:.4f}")
    Console().print(table)
    times = ", ".join(f"{name} {value:.1f}" for name, value in result["rerank_ms"].items())
    print(f"a shortlist of {given.shortlist} put in order, ms: {times}; {given.threads} threads")
    print(json.dumps({"machine": described, "model": given.model, **result}))


if __name__ == "__main__":
    main()
