"""OpenCV's FLANN: randomised kd-trees, which may miss the nearest."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role
from bench.contenders.matching_task import Pair, of_opencv, passing

TITLE = "cv2.FlannBasedMatcher"
ROLE: Role = "peer"
PACKAGES = ("opencv-python-headless",)

TREES, CHECKS = 5, 50  # as in OpenCV's own tutorial
_KD_TREES = 1  # FLANN_INDEX_KDTREE


def load(asked: Asked) -> Loaded:
    """No options."""
    import cv2

    def trained(descriptors: Any) -> Any:
        matcher = cv2.FlannBasedMatcher({"algorithm": _KD_TREES, "trees": TREES}, {"checks": CHECKS})
        matcher.add([descriptors])
        matcher.train()
        return matcher

    def prepare(given: Pair) -> Any:
        cv2.setNumThreads(asked.threads)  # each time: finding keypoints in threads of our own leaves it with one
        return given.searched_by(trained)

    def run(prepared: Any) -> list[tuple[int, list[Any]]]:
        query, sets = prepared
        return [(number, passing(matcher().knnMatch(query, k=2))) for number, matcher in sets]

    return Loaded(run, prepare=prepare, answers=of_opencv)
