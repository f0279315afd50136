"""What every test shares: the real data, or an honest reason why it is not here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"


def _data_folder(name: str) -> Path:
    """A folder of the real data. Where there is none the test skips and says so; in CI, where it lies, that is a failure."""
    places = [Path(os.environ["SEMBLANCE_DATA"])] if "SEMBLANCE_DATA" in os.environ else []
    places.append(_SHARED)
    for place in places:
        if (place / name).is_dir():
            return place / name
    reason = f"no {name} in {' or '.join(map(str, places))}; set SEMBLANCE_DATA to a folder that has it"
    if os.environ.get("CI") == "true" and _SHARED.is_dir():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def fashion_mnist_dir() -> Path:
    """The four idx.gz files of Fashion-MNIST."""
    return _data_folder("fashion-mnist")


@pytest.fixture(scope="session")
def caltech_dir() -> Path:
    """Caltech101's first 45 photographs of each class, as one tar."""
    return _data_folder("caltech101")


@pytest.fixture(scope="session")
def originals_dir() -> Path:
    """The published model files."""
    return _data_folder("originals")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The pretrained MobileNet weights."""
    return _data_folder("weights")
