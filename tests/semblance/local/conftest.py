"""Real pairs of photographs, and where a point of the first is in the second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from export.images import encoded_photographs
from semblance.local.sift import SiftOptions, extract_all


@dataclass(frozen=True)
class Pair:
    """Two photographs of one plane, or from one place."""

    a: Path
    b: Path
    homography: NDArray[np.float64]  # [3, 3], from a to b

    def errors(self, points_a: NDArray[np.float32], points_b: NDArray[np.float32]) -> NDArray[np.float64]:
        """[M, 2] and [M, 2] -> [M] pixels of b between a point and its true place."""
        projected = np.c_[points_a, np.ones(len(points_a))] @ self.homography.T
        return np.linalg.norm(projected[:, :2] / projected[:, 2:] - points_b, axis=1)


@pytest.fixture(scope="session")
def pair(sift_pairs_dir: Path) -> Callable[[str], Pair]:
    """`pair(name)`."""

    def find(name: str) -> Pair:
        if name == "graf":
            text = ElementTree.parse(sift_pairs_dir / "H1to3p.xml").findtext("H13/data") or ""
            homography = np.array(text.split(), np.float64).reshape(3, 3)
            return Pair(sift_pairs_dir / "graf1.png", sift_pairs_dir / "graf3.png", homography)
        a, b = (next(path for path in sift_pairs_dir.glob(f"{name}{side}.*")) for side in "AB")
        return Pair(a, b, np.linalg.inv(np.loadtxt(sift_pairs_dir / f"{name}_model.txt")))  # the file's maps b to a

    return find


@pytest.fixture(scope="session")
def caltech_descriptors(caltech_dir: Path) -> list[NDArray[np.uint8]]:
    """Descriptors of 150 photographs, of all classes, up to 300 of each."""
    archive = next(caltech_dir.glob("*.tar"))
    photographs = [encoded for _, encoded in encoded_photographs(archive, 150)]
    return [each.descriptors for each in extract_all(photographs, SiftOptions(max_keypoints=300))]
