"""The way of a photograph, stage by stage, against TensorFlow's: its decoder, its resizing, Keras's network.

    python -m bench.photo_path
    python -m bench.photo_path --images 100 --model mobilenet.onnx

Caltech101 photographs from all classes go through MobileNet's whole path twice. Each stage gets the same input on both
sides, so that what differs is that stage alone; at the end the whole ways are compared as well. TensorFlow's own
answers differ with its options: its JPEG decoder has a fast and an accurate inverse transform, and its users resize by
"area", by "bilinear", and seldom with antialiasing, so all of them are here. Last come large JPEGs, decoded as they are
and by `--scaled-decode` at 1/2, 1/4 and 1/8: how far the vectors move for it, and how much faster the decoding is. A
table, then one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import mistakes_in_one_line, photographs
from export.images import find_photographs
from export.quiet import import_tensorflow_quietly
from semblance.card import ModelCard, Resize, read_card
from semblance.inputs.decode import Limits, decode, single_threaded
from semblance.inputs.resize import fit, resize

if TYPE_CHECKING:
    from models.weights import Opened

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_WEIGHTS = Path("weights", "mobilenet_v1_075_224_notop.weights.h5")
_PARITY_IMAGES = 50  # the export is proven elsewhere
_TF_KERNELS = {
    "area": ("area", False),
    "bilinear": ("bilinear", False),
    "bilinear, antialias": ("bilinear", True),
}  # method and antialias of tf.image.resize
_SHRINKING = "where both sides shrink"
_FACTORS = (2, 4, 8)
_LARGE_QUALITY = 92
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """Of pixels, in levels of 255."""

    share_equal: float  # of pixels, all three colours the same
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class Cosine:
    """Between two ways' vectors of the same pictures."""

    mean: float
    worst: float


# ------------------------------------------------------------------------------------------------------------------
# The photographs


def enlarged(jpeg: bytes, short_side: int) -> bytes:
    """The photograph as a camera of more pixels would have it, as far as an enlargement can."""
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None  # our decoder takes all of these photographs
    scale = short_side / min(pixels.shape[:2])
    size = tuple(max(short_side, round(side * scale)) for side in pixels.shape[1::-1])
    large = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, _LARGE_QUALITY])[1].tobytes()


def _large_photographs() -> list[bytes]:
    """Photographs that are large by themselves: those among the pairs for local features."""
    archive = find_photographs()
    folder = archive.parents[1] / "sift-pairs" if archive else None
    found = sorted(folder.glob("*.jpg")) if folder else []
    return [path.read_bytes() for path in found if min(decode(path, channels=3).shape[:2]) >= 4 * 224]


# ------------------------------------------------------------------------------------------------------------------
# The stages


def tf_decoded(jpegs: list[bytes]) -> dict[str, list[Pixels]]:
    """By TensorFlow's default, whose inverse transform is a fast approximation, and by its accurate one."""
    import tensorflow as tf

    fast = [tf.io.decode_image(jpeg, channels=3, expand_animations=False).numpy() for jpeg in jpegs]
    accurate = [tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy() for jpeg in jpegs]
    return {"fast": fast, "accurate": accurate}


def compare_decoding(jpegs: list[bytes], theirs: dict[str, list[Pixels]]) -> dict[str, Difference]:
    """Our decoder against each of theirs."""
    ours = [decode(jpeg, channels=3) for jpeg in jpegs]
    return {f"TF's {name} decoder": _difference(ours, pixels) for name, pixels in theirs.items()}


def compare_resizing(pictures: list[Pixels], card: ModelCard) -> dict[str, Difference]:
    """Our area kernel and our bilinear one against TensorFlow's kernels, on the same pixels."""
    theirs = {name: tf_resized(pictures, card, name) for name in _TF_KERNELS}
    area, bilinear = ours_resized(pictures, card, "area"), ours_resized(pictures, card, "bilinear")
    differences = {f"area: TF's {name}": _difference(area, levels) for name, levels in theirs.items()}
    if shrinks := shrinking(pictures, card):
        only = [area[number] for number in shrinks], [theirs["area"][number] for number in shrinks]
        differences[f"area: TF's area, {_SHRINKING}"] = _difference(*only)
    return differences | {f"bilinear: TF's {name}": _difference(bilinear, levels) for name, levels in theirs.items()}


def shrinking(pictures: list[Pixels], card: ModelCard) -> list[int]:
    """Which pictures have no side that grows, along which TensorFlow's area repeats pixels and ours is bilinear."""
    return [i for i, each in enumerate(pictures) if each.shape[0] >= card.height and each.shape[1] >= card.width]


def ours_resized(pictures: list[Pixels], card: ModelCard, kernel: Resize) -> list[Pixels]:
    """[card.height, card.width, 3] each."""
    if kernel == card.resize:
        return [fit(each, card) for each in pictures]
    return [resize(each, height=card.height, width=card.width, resize=kernel, crop=card.crop) for each in pictures]


def tf_resized(pictures: list[Pixels], card: ModelCard, name: str) -> list[Floats]:
    """[card.height, card.width, 3] float32 each, 0-255, not rounded."""
    import tensorflow as tf

    method, antialias = _TF_KERNELS[name]
    size = (card.height, card.width)
    return [tf.cast(tf.image.resize(each, size, method, antialias=antialias), tf.float32).numpy() for each in pictures]


def _difference(ours: list[Pixels], theirs: list[Any]) -> Difference:
    """Over all pixels of all pictures; floats are rounded to levels first, as a file of pixels would have them."""
    equal = total = levels = largest = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        off = np.abs(mine.astype(np.float64) - np.rint(other))  # [H, W, 3]
        equal += float((off.max(axis=2) == 0).sum())
        total += off.shape[0] * off.shape[1]
        levels += float(off.mean(axis=2).sum())
        largest = max(largest, float(off.max()))
    return Difference(equal / total, levels / total, largest)


# ------------------------------------------------------------------------------------------------------------------
# Vectors


class Networks:
    """MobileNet as an exported file and as Keras has it."""

    def __init__(self, opened: Opened, file: Path) -> None:
        """Both are open from now on."""
        import tensorflow as tf

        from models.weights import own_path

        self.file, self.card = file, read_card(file)
        spec = tf.TensorSpec([None, self.card.height, self.card.width, 3], tf.float32)
        self._own = tf.function(own_path(opened.original, opened.network), input_signature=[spec])

    def ours(self, fitted: list[Pixels]) -> Floats:
        """[N, H, W, 3] uint8 -> [N, D] by ONNX Runtime."""
        from export.parity import run_file

        return run_file(self.file, np.stack(fitted))

    def theirs(self, fitted: list[Floats]) -> Floats:
        """[N, H, W, 3] float32, 0-255 -> [N, D] by Keras, preprocessing included."""
        parts = [np.stack(fitted[start : start + 32]) for start in range(0, len(fitted), 32)]
        return np.concatenate([self._own(part.astype(np.float32)).numpy() for part in parts])


def open_networks(weights: Path | None, model: Path | None, folder: Path) -> Networks:
    """The original with `weights` (None: those of the data folder), and `model`, or its export into `folder`."""
    from export.write import export
    from models.base import find
    from models.weights import open_original

    archive = find_photographs()
    if weights is None and archive is not None:
        weights = archive.parents[1] / _WEIGHTS
    opened = open_original(find("mobilenet"), str(weights) if weights is not None else None)
    if model is None:
        model = folder / "mobilenet.onnx"
        export(opened, model, num_images=_PARITY_IMAGES)
    return Networks(opened, model)


def compare_vectors(
    jpegs: list[bytes], theirs: dict[str, list[Pixels]], networks: Networks
) -> dict[str, dict[str, Cosine]]:
    """The network alone, on the same pixels; and the whole way, from the JPEG file to the vector."""
    card = networks.card

    def tf_vectors(decoder: str, kernel: str, *, is_rounded: bool = False) -> Floats:
        resized = tf_resized(theirs[decoder], card, kernel)
        return networks.theirs([np.rint(each) for each in resized] if is_rounded else resized)

    same = ours_resized(theirs["fast"], card, card.resize)
    model = _cosine(networks.ours(same), networks.theirs([each.astype(np.float32) for each in same]))
    decoded = [decode(jpeg, channels=3) for jpeg in jpegs]
    shrinks = shrinking(decoded, card)
    kernels: tuple[Resize, ...] = ("area", "bilinear")
    whole, by_kernel = {}, {}
    for kernel in kernels:
        ours = networks.ours(ours_resized(decoded, card, kernel))
        for decoder in theirs:
            vectors = by_kernel[kernel, decoder] = tf_vectors(decoder, kernel)
            whole[f"{kernel}: TF's {kernel}, {decoder} decoder"] = _cosine(ours, vectors)
            if kernel == "area" and shrinks:
                name = f"area: TF's area, {decoder} decoder, {_SHRINKING}"
                whole[name] = _cosine(ours[shrinks], vectors[shrinks])
        rounded = tf_vectors("accurate", kernel, is_rounded=True)  # its resizing gives floats, ours whole levels
        whole[f"{kernel}: TF's {kernel}, accurate decoder, rounded"] = _cosine(ours, rounded)
        if kernel == "area" and shrinks:
            name = f"area: TF's area, accurate decoder, rounded, {_SHRINKING}"
            whole[name] = _cosine(ours[shrinks], rounded[shrinks])
        if kernel == "area":
            whole["area: TF's bilinear, fast decoder"] = _cosine(ours, tf_vectors("fast", "bilinear"))
    # What TensorFlow's own choices do to its own vectors
    fast, accurate = by_kernel["bilinear", "fast"], by_kernel["bilinear", "accurate"]
    whole["TF's fast decoder: TF's accurate one, bilinear"] = _cosine(fast, accurate)
    whole["TF's area: TF's bilinear, fast decoder"] = _cosine(by_kernel["area", "fast"], fast)
    return {"network": {"the same pixels": model}, "whole way": whole}


def _cosine(first: Floats, second: Floats) -> Cosine:
    a, b = (each.astype(np.float64) for each in (first, second))
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)  # [N]
    return Cosine(float(cosine.mean()), float(cosine.min()))


# ------------------------------------------------------------------------------------------------------------------
# Large JPEGs at a part of their size


def compare_scaled(jpegs: list[bytes], networks: Networks) -> dict[str, dict[str, float]]:
    """The vectors' cosine between the normal and the scaled way, and by how much decoding is faster, by the part."""
    card = networks.card
    sets: dict[str, Iterable[bytes]] = {"1/2, large photographs": _large_photographs()}
    for factor in _FACTORS:
        make = partial(enlarged, short_side=2 * factor * card.height)
        sets[f"1/{factor}, enlarged photographs"] = map(make, jpegs)  # one at a time: they are large
    single_threaded()
    found = {}
    for name, files in sets.items():
        whole, part, ratios = [], [], []
        for file in files:
            ways = (Limits(), Limits(is_scaled=True))
            (full, slow), (reduced, fast) = _timed([_decoder(file, limits, card) for limits in ways])
            assert reduced.shape[0] == -(-full.shape[0] // int(name[2]))  # as its name says
            whole.append(fit(full, card))
            part.append(fit(reduced, card))
            ratios.append(slow / fast)
        if not whole:
            continue
        cosine, levels = _cosine(networks.ours(whole), networks.ours(part)), _difference(part, whole)
        found[name] = {
            "num_images": len(whole), **asdict(cosine), "mean_levels": levels.mean, "max_levels": levels.max,
            "decode_speed_ratio": statistics.median(ratios),
        }  # fmt: skip
    return found


def _decoder(file: bytes, limits: Limits, card: ModelCard) -> Callable[[], Pixels]:
    return lambda: decode(file, channels=3, limits=limits, reduce_to=(card.height, card.width))


def _timed(ways: list[Callable[[], Pixels]]) -> list[tuple[Pixels, float]]:
    """What each way gives and its median time, the ways in turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    results: list[Pixels] = [way() for way in ways]  # warm
    for _ in range(_ROUNDS):
        for number, way in enumerate(ways):
            start = time.perf_counter()
            results[number] = way()
            seconds[number].append(time.perf_counter() - start)
    return [(result, statistics.median(each)) for result, each in zip(results, seconds, strict=True)]


# ------------------------------------------------------------------------------------------------------------------


def measure(num_images: int, num_large: int, *, weights: Path | None, model: Path | None) -> dict[str, Any]:
    """All stages on `num_images` photographs, large JPEGs made of `num_large` of them."""
    jpegs = photographs(num_images)
    import_tensorflow_quietly()
    with tempfile.TemporaryDirectory() as folder:
        networks = open_networks(weights, model, Path(folder))
        theirs = tf_decoded(jpegs)
        decoding, resizing = compare_decoding(jpegs, theirs), compare_resizing(theirs["fast"], networks.card)
        result: dict[str, Any] = {
            "model": networks.card.name,
            "num_images": len(jpegs),
            "decode": {name: asdict(each) for name, each in decoding.items()},
            "resize": {name: asdict(each) for name, each in resizing.items()},
        }
        for stage, cosines in compare_vectors(jpegs, theirs, networks).items():
            result[stage] = {name: asdict(each) for name, each in cosines.items()}
        result["scaled decode"] = compare_scaled(jpegs[:: max(1, len(jpegs) // num_large)][:num_large], networks)
    return result


def _tables(result: dict[str, Any]) -> list[Table]:
    pixels = Table("stage", "ours against", title=f"{result['num_images']} photographs: pixels, in levels of 255")
    for heading in ("equal", "mean difference", "largest"):
        pixels.add_column(heading, justify="right")
    for stage in ("decode", "resize"):
        for name, each in result[stage].items():
            pixels.add_row(stage, name, f"{each['share_equal']:.4%}", f"{each['mean']:.4f}", f"{each['max']:.0f}")
    vectors = Table("stage", "ours against", title="vectors: cosine")
    for heading in ("mean", "worst"):
        vectors.add_column(heading, justify="right")
    for stage in ("network", "whole way"):
        for name, each in result[stage].items():
            vectors.add_row(stage, name, f"{each['mean']:.7f}", f"{each['worst']:.7f}")
    scaled = Table("scaled decode", title="the scaled way against the normal one")
    for heading in ("images", "mean cosine", "worst", "mean levels", "decode, times as fast"):
        scaled.add_column(heading, justify="right")
    for name, each in result["scaled decode"].items():
        figures = (f"{each['mean']:.6f}", f"{each['worst']:.6f}", f"{each['mean_levels']:.2f}")
        scaled.add_row(name, f"{each['num_images']:.0f}", *figures, f"{each['decode_speed_ratio']:.2f}")
    return [pixels, vectors, scaled]


def main() -> None:
    """Measure, print tables and one JSON document."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.photo_path", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500, help="photographs (default 500)")
    parser.add_argument("--large", type=int, default=40, help="of them, enlarged, for --scaled-decode (default 40)")
    parser.add_argument("--weights", type=Path, help="of MobileNet .75 (default: those in the data folder)")
    parser.add_argument("--model", type=Path, help="an exported MobileNet of the same weights (default: export one)")
    given = parser.parse_args()
    with mistakes_in_one_line():
        result = measure(given.images, given.large, weights=given.weights, model=given.model)
    console = Console(width=110)
    for table in _tables(result):
        console.print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
