"""A stand-in for Fashion-MNIST on a machine that has no copy and no network: garments drawn by code.

In: a split. Out: images and labels of Fashion-MNIST's shapes, dtypes and class numbers, the same on every run. The
outlines are drawn with random proportions at four times the size, then varied as arrays, since drawing each of 70,000
would take most of a minute. Figures measured on it say that the engine works, and nothing about Fashion-MNIST.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError

_SIZE = 28
_SCALE = 4
_CANVAS = _SIZE * _SCALE
_NUM_CLASSES = 10
_NUM_IMAGES = {"train": 60_000, "test": 10_000}
_SEEDS = {"train": 1, "test": 2}  # the splits share no drawing
_VARIANTS_PER_DRAWING = 20

Point = tuple[float, float]  # x from -1 (left) to 1, y from 0 (top) to 1


def drawn_fashion(
    split: Literal["train", "test"], *, num_images: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Drawn garments [N, 28, 28] uint8 0-255 on black and their classes [N] uint8 0-9, by default as many as the
    split of Fashion-MNIST has; classes are equally frequent and mixed.

    Deterministic for each split and `num_images`. Raises InputError for another split or a negative number.
    """
    if split not in _SEEDS:
        raise InputError(f"split must be 'train' or 'test', is {split!r}")
    count = _NUM_IMAGES[split] if num_images is None else num_images
    if count < 0:
        raise InputError(f"num_images must be at least 0, is {count}")
    rng = np.random.default_rng(_SEEDS[split])
    labels = rng.permutation(np.arange(count) % _NUM_CLASSES).astype(np.uint8)  # [N]
    per_class = -(-count // (_NUM_CLASSES * _VARIANTS_PER_DRAWING))
    drawings: NDArray[np.uint8] = np.array(
        [[_draw(garment, rng) for _ in range(per_class)] for garment in _GARMENTS], np.uint8
    ).reshape(_NUM_CLASSES, per_class, _SIZE, _SIZE)  # fmt: skip
    chosen = drawings[labels, rng.integers(0, max(per_class, 1), count)]  # [N, 28, 28]
    return _vary(chosen, rng), labels


def _vary(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image mirrored or not, moved by up to a pixel, brighter or darker, and grainy where it is not black."""
    count = len(images)
    moves = rng.integers(0, 18, count)  # [N]: mirrored x down x across
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))  # [N, 30, 30]
    moved = np.empty_like(images)
    for move in range(18):
        down, across = move // 2 % 3, move // 6
        picked = framed[moves == move, down : down + _SIZE, across : across + _SIZE]
        moved[moves == move] = picked[:, :, :: 1 if move % 2 else -1]
    gain = rng.uniform(0.7, 1.1, (count, 1, 1)).astype(np.float32)
    grain = rng.standard_normal(moved.shape, np.float32) * np.float32(7) * (moved > 0)
    varied: NDArray[np.uint8] = np.clip(np.rint(moved * gain + grain), 0, 255).astype(np.uint8)
    return varied


# ------------------------------------------------------------------------------------------------------------------
# One drawing


class _Sheet:
    """A canvas in garment coordinates, with the randomness of one drawing."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.pixels = np.zeros((_CANVAS, _CANVAS), np.uint8)
        self.rng = rng
        self.cloth = int(rng.integers(120, 245))
        self.dark, self.light = int(self.cloth * 0.45), min(255, self.cloth + 60)

    def about(self, value: float, spread: float) -> float:
        return value + float(self.rng.uniform(-spread, spread))

    def fill(self, points: Sequence[Point], shade: int | None = None) -> None:
        cv2.fillPoly(self.pixels, [self._to_pixels(points)], self.cloth if shade is None else shade, cv2.LINE_AA)

    def fill_both_halves(self, right: Sequence[Point], shade: int | None = None) -> None:
        """`right` from top to bottom, and its mirror image."""
        self.fill([*right, *((-x, y) for x, y in reversed(right))], shade)

    def line(self, points: Sequence[Point], shade: int, width: int = 3) -> None:
        cv2.polylines(self.pixels, [self._to_pixels(points)], False, shade, width, cv2.LINE_AA)

    def pattern(self) -> None:
        """Half of all cloth is plain; the rest has stripes across or along."""
        kind = self.rng.integers(0, 4)
        stripe = (np.arange(_CANVAS) // self.rng.integers(5, 12)) % 2 * self.about(0.25, 0.15)  # [112]
        if kind < 2:
            self.pixels = (self.pixels * (1 - (stripe[:, None] if kind else stripe))).astype(np.uint8)

    def reduced(self) -> NDArray[np.uint8]:
        """[28, 28], lit from one side and a little uneven, as cloth is."""
        light = 1 + self.about(0, 0.2) * np.linspace(-1, 1, _CANVAS)  # [112]
        folds = cv2.resize(self.rng.uniform(0.85, 1.0, (5, 5)), (_CANVAS, _CANVAS), interpolation=cv2.INTER_CUBIC)
        shaded = np.clip(self.pixels * light * folds, 0, 255).astype(np.uint8)
        reduced: NDArray[np.uint8] = cv2.resize(shaded, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8)
        return reduced

    def _to_pixels(self, points: Sequence[Point]) -> NDArray[np.int32]:
        scaled = [((x + 1) / 2 * (_CANVAS - 1), y * (_CANVAS - 1)) for x, y in points]
        return np.rint(scaled).astype(np.int32)


def _draw(garment: Callable[[_Sheet], None], rng: np.random.Generator) -> NDArray[np.uint8]:
    sheet = _Sheet(rng)
    garment(sheet)
    return sheet.reduced()


def _top(s: _Sheet, *, sleeve: float, width: float, hem: float) -> None:
    """Everything with sleeves; `sleeve` is 0 for none and 1 for one down to the wrist."""
    neck, shoulder = s.about(0.2, 0.04), s.about(0.45, 0.04)
    cuff_x, cuff_y = 0.6 + 0.25 * min(1.0, sleeve + 0.5), 0.2 + 0.62 * sleeve
    s.fill_both_halves(
        [(neck, 0.06), (shoulder, 0.1), (cuff_x, cuff_y), (cuff_x - 0.22, cuff_y + 0.05), (width, 0.33), (width, hem)]
    )


def _t_shirt(s: _Sheet) -> None:
    _top(s, sleeve=s.about(0.2, 0.06), width=s.about(0.44, 0.05), hem=s.about(0.93, 0.04))
    s.pattern()
    s.fill([(-0.18, 0.05), (0, s.about(0.15, 0.05)), (0.18, 0.05)], 0)


def _trouser(s: _Sheet) -> None:
    hip, ankle, crotch = s.about(0.34, 0.05), s.about(0.3, 0.08), s.about(0.3, 0.05)
    s.fill_both_halves([(hip - 0.04, 0.04), (hip, 0.2), (ankle, 0.97), (ankle - 0.2, 0.97), (0, crotch)])
    s.line([(-hip, 0.08), (hip, 0.08)], s.dark, 2)
    s.line([(0, 0.08), (0, crotch)], s.dark, 2)


def _pullover(s: _Sheet) -> None:
    _top(s, sleeve=s.about(0.95, 0.06), width=s.about(0.46, 0.05), hem=s.about(0.92, 0.04))
    s.pattern()
    s.line([(-0.22, 0.07), (0, 0.13), (0.22, 0.07)], s.dark, 4)
    s.line([(-0.5, 0.87), (0.5, 0.87)], s.dark, 2)


def _dress(s: _Sheet) -> None:
    strap, bust, waist, hem = s.about(0.2, 0.05), s.about(0.28, 0.04), s.about(0.2, 0.04), s.about(0.45, 0.12)
    s.fill_both_halves([(strap, 0.03), (bust, 0.22), (waist, 0.42), (hem, 0.97)])
    s.pattern()
    s.fill([(-strap + 0.06, 0.02), (0, s.about(0.2, 0.04)), (strap - 0.06, 0.02)], 0)
    s.line([(-waist, 0.42), (waist, 0.42)], s.dark, 2)


def _coat(s: _Sheet) -> None:
    _top(s, sleeve=s.about(1.05, 0.05), width=s.about(0.52, 0.05), hem=s.about(0.98, 0.02))
    s.line([(0, 0.25), (0, 0.98)], s.dark, 4)
    s.line([(-0.25, 0.05), (0, 0.4), (0.25, 0.05)], s.dark, 5)
    for y in (0.5, 0.65, 0.8):
        s.line([(0.12, y), (0.14, y)], s.light if s.rng.random() < 0.5 else s.dark, 5)


def _sandal(s: _Sheet) -> None:
    heel, sole, thick = s.about(0.14, 0.13), s.about(0.8, 0.03), s.about(0.06, 0.02)
    s.fill([(-0.95, sole), (-0.35, sole), (0.9, sole - heel), (0.92, sole + thick), (0.6, sole + thick),
            (0.1, sole - heel / 2 + thick), (-0.35, sole + thick), (-0.92, sole + thick)])  # fmt: skip
    for x in np.linspace(-0.75, 0.1, int(s.rng.integers(2, 5))):  # straps over the foot, higher towards the ankle
        top = s.about(0.58 - 0.12 * x, 0.02) - heel * 0.6 * max(0.0, x + 0.35)
        s.line([(x - 0.08, sole), (x + 0.06, top), (x + 0.24, top - 0.03)], s.cloth, int(s.rng.integers(5, 9)))
    if s.rng.random() < 0.7:
        s.line([(0.86, sole - heel), (0.8, 0.4), (0.35, s.about(0.46, 0.03)), (0.3, sole - heel)], s.cloth, 6)


def _shirt(s: _Sheet) -> None:
    _top(s, sleeve=s.about(0.75, 0.2), width=s.about(0.4, 0.04), hem=s.about(0.95, 0.03))
    s.pattern()
    s.fill([(-0.24, 0.03), (0, 0.2), (0.24, 0.03), (0.12, 0.02), (-0.12, 0.02)], s.light)
    s.line([(0, 0.18), (0, 0.95)], s.light, 2)
    for y in np.linspace(0.28, 0.85, 5):
        s.line([(0, y), (0.01, y)], s.dark, 5)


def _sneaker(s: _Sheet) -> None:
    collar, toe = s.about(0.42, 0.04), s.about(0.62, 0.03)
    s.fill([(-0.94, toe + 0.04), (-0.7, toe - 0.04), (-0.15, collar + 0.03), (0.1, collar - 0.04), (0.5, collar + 0.04),
            (0.85, collar - 0.06), (0.92, 0.72), (-0.94, 0.72)])  # fmt: skip
    s.fill([(-0.96, 0.7), (0.94, 0.7), (0.9, 0.79), (-0.9, 0.79)], s.light if s.cloth < 190 else s.dark)
    for x in (-0.45, -0.3, -0.15):
        s.line([(x, 0.6), (x + 0.14, 0.5)], s.dark if s.cloth > 150 else s.light, 3)
    s.line([(0.0, 0.68), (0.35, 0.52), (0.6, 0.5)], s.dark, int(s.rng.integers(2, 6)))


def _bag(s: _Sheet) -> None:
    top, half, low = s.about(0.42, 0.07), s.about(0.78, 0.1), s.about(0.9, 0.05)
    s.line([(x, top - s.cloth / 255 * 0.34 * (1 - (x / 0.45) ** 2)) for x in np.linspace(-0.45, 0.45, 13)], s.cloth, 6)
    s.fill_both_halves([(half - s.about(0.06, 0.06), top), (half, low - 0.06), (half - 0.06, low)])
    if s.rng.random() < 0.6:
        flap = s.about(0.63, 0.06)
        s.line(
            [(-half, top), (0, flap), (half, top)] if s.rng.random() < 0.5 else [(-half, flap), (half, flap)], s.dark
        )
        s.line([(0, flap), (0.02, flap)], s.light, 8)


def _ankle_boot(s: _Sheet) -> None:
    shaft, heel = s.about(0.12, 0.06), s.about(0.9, 0.03)
    front = s.about(0.02, 0.06)
    s.fill([(front, shaft), (0.78, shaft + 0.02), (0.82, heel), (0.45, heel), (0.35, 0.83), (-0.9, heel),
            (-0.94, 0.72), (-0.55, 0.6), (front - 0.02, 0.48)])  # fmt: skip
    s.line([(-0.92, 0.83), (0.35, 0.8), (0.82, 0.8)], s.dark, 3)
    if s.rng.random() < 0.6:
        s.line([(0.45, shaft), (0.42, 0.55)], s.dark, 3)
    for y in np.linspace(shaft + 0.08, 0.5, 4) if s.rng.random() < 0.5 else ():
        s.line([(front, y), (front + 0.25, y - 0.04)], s.light, 2)


_GARMENTS = (_t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot)
