"""Pictures drawn by code, galleries of them, and the service over these: a real server in a thread, and its client."""

from __future__ import annotations

import asyncio
import base64
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from semblance.inference.encoder import Encoder
from semblance.local.sift import SiftOptions
from semblance.search import Gallery
from semblance.service import run, sockets
from semblance.service.app import create_app
from semblance.service.server import Server
from semblance.service.settings import Settings
from semblance.service.state import Service
from tests.conftest import make_tiny_model

NUM_PICTURES = 12  # of a gallery; keys from 0, the first half cats
PATIENCE_S = 20.0  # what is waited for happens at once, unless it never does


def picture(seed: int, height: int = 24, width: int = 32, suffix: str = ".png") -> bytes:
    """Soft blots of colour, other ones for each seed."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return encoded(cv2.resize(blots, (width, height), interpolation=cv2.INTER_CUBIC), suffix)


def detailed(seed: int) -> bytes:
    """A picture that SIFT finds much in."""
    rng = np.random.default_rng(seed)
    blots = cv2.resize(rng.integers(0, 256, (15, 20), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    return encoded(blots, ".png")


def encoded(pixels: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    is_written, content = cv2.imencode(suffix, pixels)
    assert is_written
    return content.tobytes()


def make_gallery(folder: Path) -> Path:
    """folder/gallery of folder/pictures/cats/00.png and so on, by folder/tiny.onnx."""
    for number in range(NUM_PICTURES):
        place = folder / "pictures" / ("dogs" if number >= NUM_PICTURES // 2 else "cats") / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture(number))
    model = make_tiny_model(folder / "tiny.onnx")
    Gallery.build(folder / "pictures", Encoder.load(str(model.path)), folder / "gallery")
    return folder / "gallery"


def make_sift_gallery(folder: Path) -> Path:
    """The same of five pictures with details and their keypoints."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(5):
        (folder / "pictures" / f"{number:02}.png").write_bytes(detailed(number))
    model = make_tiny_model(folder / "tiny.onnx")
    options = SiftOptions(max_keypoints=200)
    Gallery.build(folder / "pictures", Encoder.load(str(model.path)), folder / "gallery", sift=options)
    return folder / "gallery"


def copy_of(gallery: Path, folder: Path) -> Path:
    """A gallery of the same pictures to write into; the pictures stay where they are."""
    shutil.copytree(gallery, folder / "gallery")
    shutil.copy(gallery.parent / "tiny.onnx", folder)
    return folder / "gallery"


def settings_of(gallery: Path | None, **given: Any) -> Settings:
    """Those of a test: one that waits for nobody, says nothing, and takes whatever port is free."""
    quick: dict[str, Any] = {
        "port": 0, "threads": 1, "max_batch": 8, "drain_s": 10.0, "access_log": False, "log_level": "error",
    }  # fmt: skip
    if gallery is not None:
        quick |= {"gallery": gallery, "model": str(gallery.parent / "tiny.onnx")}
    return Settings(**{**quick, **given})


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and name of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("urn:semblance:problem:")


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def decoded(answer: httpx.Response) -> Any:
    """The picture in an answer, [H, W, 3] BGR."""
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)


def kinds_of_work(service: Service, patch: pytest.MonkeyPatch) -> list[bool]:
    """Of each piece of work that is done beside the event loop from now on, whether it is called slow."""
    kinds, beside = list[bool](), service.beside

    async def noted(work: Any, *, is_slow: bool = False) -> Any:
        kinds.append(is_slow)
        return await beside(work, is_slow=is_slow)

    patch.setattr(service, "beside", noted)
    return kinds


class Served:
    """A service in a thread of this process, and a client of it."""

    def __init__(self, service: Service, server: Server, address: str) -> None:
        self.service = service
        self.server = server
        self.address = address
        token = {} if service.token is None else {"Authorization": f"Bearer {service.token}"}
        self.client = httpx.Client(base_url=address, timeout=PATIENCE_S, headers=token)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def figures(self, name: str) -> dict[tuple[str, ...], float]:
        """A metric's figures now by the values of its labels, in the order of the labels' names."""
        return figures_of(self.service.metrics.text().decode(), name)

    def is_idle(self) -> bool:
        return self.service.budget.taken == 0 and self.service.batcher.pending_images == 0


def figures_of(text: str, name: str) -> dict[tuple[str, ...], float]:
    """As `Served.figures`, of Prometheus' text."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


@contextmanager
def served(settings: Settings) -> Iterator[Served]:
    """The service of `settings`, to be asked over HTTP."""
    service = Service(settings)
    is_ready, failure = threading.Event(), list[BaseException]()
    listening = sockets.listen(settings.host, settings.port)
    address = sockets.address(listening)
    server = Server(create_app(service=service), run._options(service, is_ready.set))

    def serve() -> None:
        try:
            server.run(list(listening))
        except BaseException as error:
            failure.append(error)
        finally:
            is_ready.set()

    thread = threading.Thread(target=serve, name="served")
    thread.start()
    try:
        assert is_ready.wait(PATIENCE_S)
        if failure:
            raise failure[0]
        found = Served(service, server, address)
        with found.client:
            yield found
    finally:
        server.drain()
        thread.join(PATIENCE_S)
        sockets.close(listening)
        if server.last_resort is not None:
            server.last_resort.cancel()
    assert not thread.is_alive()


def wait_for(is_so: Any) -> None:
    """Until it is so, asked again and again: for what nobody tells of."""
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if is_so():
            return
        waiting.wait(0.005)
    raise AssertionError("it never came")


async def eventually(is_so: Any) -> None:
    """As `wait_for`, in a coroutine."""
    for _ in range(int(PATIENCE_S / 0.005)):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


class Held:
    """Something that is called and comes back only when it is let go."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.is_entered = threading.Event()
        self._may_go = threading.Event()
        self.num_calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.num_calls += 1
        self.is_entered.set()
        assert self._may_go.wait(PATIENCE_S)
        return self._inner(*args, **options)

    def wait(self) -> None:
        assert self.is_entered.wait(PATIENCE_S)

    def let_go(self) -> None:
        self._may_go.set()


def ask_and_leave(one: Served, held: Held, path: str, **sent: Any) -> None:
    """Ask by POST, and close the connection as soon as `held` is entered."""

    async def main() -> None:
        async with httpx.AsyncClient(base_url=one.address, timeout=PATIENCE_S) as client:
            asking = asyncio.ensure_future(client.post(path, **sent))
            await eventually(held.is_entered.is_set)
            asking.cancel()
            await asyncio.wait([asking])

    asyncio.run(main())
