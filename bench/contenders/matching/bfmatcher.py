"""OpenCV's brute force with the loop in Python that is usual: how the original matched."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role
from bench.contenders.matching_task import Pair, of_opencv, passing

TITLE = "cv2.BFMatcher"
ROLE: Role = "original"
PACKAGES = ("opencv-python-headless",)


def load(asked: Asked) -> Loaded:
    """No options."""
    import cv2

    matcher = cv2.BFMatcher()

    def prepare(given: Pair) -> Any:
        cv2.setNumThreads(asked.threads)  # each time: finding keypoints in threads of our own leaves it with one
        return given.floats()

    def run(prepared: Any) -> list[tuple[int, list[Any]]]:
        query, sets = prepared
        return [(number, passing(matcher.knnMatch(query, each, k=2))) for number, each in sets]

    return Loaded(run, prepare=prepare, answers=of_opencv)
