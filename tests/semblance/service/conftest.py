"""Galleries drawn once, and services over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from semblance.inference.encoder import Encoder
from tests.semblance.service import drawn
from tests.semblance.service.drawn import Held, Served

Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def drawn_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures, cats and dogs; not to be written into."""
    return drawn.make_gallery(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def drawn_sift_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures with their keypoints; not to be written into."""
    return drawn.make_sift_gallery(tmp_path_factory.mktemp("detailed"))


@pytest.fixture(scope="session")
def tiny_encoder(drawn_gallery: Path) -> Encoder:
    """That of the galleries and of every service here."""
    return Encoder.load(str(drawn_gallery.parent / "tiny.onnx"))


@pytest.fixture
def own_gallery(drawn_gallery: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return drawn.copy_of(drawn_gallery, tmp_path)


@pytest.fixture
def own_sift_gallery(drawn_sift_gallery: Path, tmp_path: Path) -> Path:
    return drawn.copy_of(drawn_sift_gallery, tmp_path)


@pytest.fixture(scope="session")
def shared(drawn_gallery: Path) -> Iterator[Served]:
    """A service that only reads, for every test that leaves it as it was."""
    with drawn.served(drawn.settings_of(drawn_gallery, read_only=True)) as found:
        yield found


@pytest.fixture(scope="session")
def shared_sift(drawn_sift_gallery: Path) -> Iterator[Served]:
    with drawn.served(drawn.settings_of(drawn_sift_gallery, read_only=True)) as found:
        yield found


@pytest.fixture
def client(shared: Served) -> Iterator[httpx.Client]:
    """Of the shared service, which has nothing of a request left when it is answered."""
    yield shared.client
    drawn.wait_for(shared.is_idle)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(gallery, **settings)` -> a service of one's own."""
    with ExitStack() as stack:

        def start(gallery: Path | None, **given: Any) -> Served:
            return stack.enter_context(drawn.served(drawn.settings_of(gallery, **given)))

        yield start


@pytest.fixture
def hold() -> Iterator[Callable[..., Held]]:
    """`hold(owner, "name")` -> its method comes back only when it is let go, at the end of the test at the latest."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())

        def held(owner: Any, name: str) -> Held:
            made = Held(getattr(owner, name))
            patch.setattr(owner, name, made)
            stack.callback(made.let_go)
            return made

        yield held
