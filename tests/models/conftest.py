"""Pictures drawn for the training commands: few, small, and of classes that can be told apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

COLORS = {"blue": (60, 60, 200), "green": (60, 200, 60), "red": (200, 60, 60)}
PER_CLASS = 14


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of 14 pictures each, a disc of the class's colour on noise; and two files that are no pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number, (name, color) in enumerate(COLORS.items()):
        (folder / name).mkdir()
        for i in range(PER_CLASS):
            image = generator.integers(100, 160, (40 + 8 * number, 56, 3), np.uint8)
            x, y, radius = (int(each) for each in generator.integers([15, 12, 8], [40, 28, 14]))
            cv2.circle(image, (x, y), radius, color[::-1], cv2.FILLED)
            cv2.imwrite(str(folder / name / f"{i:02d}.png"), image)
    (folder / "red" / "broken.jpg").write_bytes(b"no picture")
    (folder / "blue" / "cut.png").write_bytes((folder / "blue" / "00.png").read_bytes()[:200])
    return folder
