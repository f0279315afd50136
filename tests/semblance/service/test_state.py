"""What all requests share: opened, drained and closed whole, also where that fails half-way."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from semblance.errors import GalleryError, InputError, ModelError, Overloaded, SpaceMismatch
from semblance.gallery.commits import GroupCommits
from semblance.service.settings import Settings
from semblance.service.state import Service
from tests.conftest import make_tiny_model
from tests.semblance.service.drawn import Held, Served, eventually, picture, settings_of, wait_for

Serve = Callable[..., Served]
Hold = Callable[..., Held]


def opened(service: Service, meanwhile: Any = None) -> None:
    async def main() -> None:
        async with service:
            if meanwhile is not None:
                await meanwhile(service)

    asyncio.run(main())


def own_threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("semblance-") and each.is_alive()}


def test_from_its_start_to_its_end(own_gallery: Path) -> None:
    service = Service(settings_of(own_gallery))
    before = own_threads()

    async def meanwhile(service: Service) -> None:
        assert service.is_ready
        assert not service.is_full
        assert service.encoder.warmed
        assert service.fingerprint == service.encoder.card.fingerprint
        assert service.gallery is not None
        assert len(service.gallery.now) == 12
        with pytest.raises(GalleryError):  # one process at a time writes
            GroupCommits(own_gallery).start()

    assert not service.is_ready
    opened(service, meanwhile)
    assert not service.is_ready
    assert service.is_draining
    GroupCommits(own_gallery).start().stop()
    wait_for(lambda: own_threads() <= before)


def test_a_gallery_that_another_writes_is_not_served_for_writing(own_gallery: Path) -> None:
    with GroupCommits(own_gallery):
        with pytest.raises(GalleryError, match=r"(?i)lock|writ"):
            opened(Service(settings_of(own_gallery)))
        opened(Service(settings_of(own_gallery, read_only=True)))
    opened(Service(settings_of(own_gallery)))


def test_what_fails_half_way_leaves_nothing_locked(
    own_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semblance.service import state

    before = own_threads()

    def broken(*_: Any, **__: Any) -> Any:
        raise MemoryError

    for name in ("LiveGallery", "Thumbnails", "Batcher"):
        with monkeypatch.context() as patch:
            patch.setattr(state, name, broken)
            with pytest.raises(MemoryError):
                opened(Service(settings_of(own_gallery)))
    other = make_tiny_model(tmp_path / "other.onnx", seed=1)
    with pytest.raises(SpaceMismatch):
        opened(Service(settings_of(own_gallery, model=str(other.path))))
    opened(Service(settings_of(own_gallery)))
    wait_for(lambda: own_threads() <= before)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GalleryError):
        opened(Service(Settings(gallery=tmp_path / "none")))
    with pytest.raises(ModelError):
        opened(Service(settings_of(None, model=str(tmp_path / "none.onnx"))))
    with pytest.raises(InputError):
        Service(settings_of(None, model="m", token_file=tmp_path / "none"))


def test_who_writes(own_gallery: Path) -> None:
    async def is_writable(service: Service) -> None:
        assert service.gallery is not None
        written.append(service.gallery.writer is not None)

    written = list[bool]()
    opened(Service(settings_of(own_gallery)), is_writable)
    opened(Service(settings_of(own_gallery, read_only=True)), is_writable)
    opened(Service(settings_of(own_gallery), is_writer=False), is_writable)
    assert written == [True, False, False]


# ----------------------------------------------------------------------------------------------------------------------
# Beside the event loop


@pytest.fixture
def alone(drawn_gallery: Path) -> Service:
    return Service(settings_of(None, model=str(drawn_gallery.parent / "tiny.onnx"), max_pending_images=3, max_images=3))


@pytest.fixture
def roomy(drawn_gallery: Path) -> Service:
    return Service(settings_of(None, model=str(drawn_gallery.parent / "tiny.onnx")))


def test_what_the_work_gives(alone: Service) -> None:
    def broken() -> None:
        raise KeyError("x")

    async def meanwhile(service: Service) -> None:
        name = await service.beside(lambda: threading.current_thread().name)
        assert name.startswith("semblance-beside")
        with pytest.raises(KeyError):
            await service.beside(broken)

    opened(alone, meanwhile)


def test_no_more_pieces_than_may_be(alone: Service) -> None:
    async def meanwhile(service: Service) -> None:
        go = threading.Event()
        pieces = [asyncio.ensure_future(service.beside(lambda: go.wait(10))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await service.beside(lambda: None)
        go.set()
        assert await asyncio.gather(*pieces) == [True] * 3
        assert await service.beside(lambda: 7) == 7

    opened(alone, meanwhile)


def test_slow_work_leaves_threads_for_the_rest(roomy: Service) -> None:
    async def meanwhile(service: Service) -> None:
        go, begun = threading.Event(), threading.Semaphore(0)

        def slow() -> None:
            begun.release()
            go.wait(10)

        half = service._pool._max_workers // 2
        busy = [asyncio.ensure_future(service.beside(slow, is_slow=True)) for _ in range(service._pool._max_workers)]
        for _ in range(half):
            assert await asyncio.to_thread(begun.acquire, timeout=10)
        assert await service.beside(lambda: 7) == 7  # though more slow work waits than there are threads
        assert not begun.acquire(blocking=False)
        go.set()
        await asyncio.gather(*busy)

    opened(roomy, meanwhile)


def test_slow_work_is_bounded_too(alone: Service) -> None:
    async def meanwhile(service: Service) -> None:
        go = threading.Event()
        busy = [asyncio.ensure_future(service.beside(lambda: go.wait(10), is_slow=True)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await service.beside(lambda: None, is_slow=True)
        go.set()
        await asyncio.gather(*busy)
        assert await service.beside(lambda: 7, is_slow=True) == 7

    opened(alone, meanwhile)


def test_a_writer_that_is_gone_needs_another_process(own_gallery: Path) -> None:
    async def meanwhile(service: Service) -> None:
        assert service.is_ready
        assert service._commits is not None
        await asyncio.to_thread(service._commits.stop, 10)
        assert (service.is_failing, service.is_ready) == (True, False)

    opened(Service(settings_of(own_gallery)), meanwhile)


def test_work_that_nobody_waits_for_is_dropped_with_what_it_holds(
    roomy: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large:
        pass

    async def meanwhile(service: Service) -> None:
        go, begun, ran = threading.Event(), threading.Semaphore(0), list[int]()

        def running() -> None:
            begun.release()
            go.wait(10)

        threads = service._pool._max_workers
        busy = [asyncio.ensure_future(service.beside(running)) for _ in range(threads)]
        for _ in range(threads):
            assert await asyncio.to_thread(begun.acquire, timeout=10)
        large = Large()
        seen = weakref.ref(large)

        def work(held: Large = large) -> None:
            ran.append(1)

        waiting = asyncio.ensure_future(service.beside(work))
        await asyncio.sleep(0)
        del large, work
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        del waiting
        gc.collect()
        assert seen() is None  # though all threads are still busy
        busy[0].cancel()  # what runs goes on, and counts until it is done
        await asyncio.sleep(0)
        assert service._num_beside == threads
        go.set()
        await asyncio.gather(*busy, return_exceptions=True)
        await eventually(lambda: service._num_beside == 0)
        assert not ran

    monkeypatch.setattr("semblance.service.state.available_threads", lambda: 1)
    service = Service(roomy.settings)
    opened(service, meanwhile)


# ----------------------------------------------------------------------------------------------------------------------
# Its end


def test_what_is_under_way_is_answered_at_the_end(serve: Serve, hold: Hold, drawn_gallery: Path) -> None:
    one = serve(drawn_gallery, read_only=True)
    held = hold(one.service.encoder, "run")
    answers = list[httpx.Response]()
    asking = threading.Thread(target=lambda: answers.append(one.client.post("/v1/embed", content=picture(1))))
    asking.start()
    held.wait()
    one.server.drain()
    wait_for(lambda: one.service.is_draining)
    held.let_go()
    asking.join()
    assert answers[0].status_code == 200


def test_while_others_have_not_heard_of_the_end_they_are_answered(serve: Serve, own_gallery: Path) -> None:
    one = serve(own_gallery, drain_delay_s=30)
    one.server.drain()
    wait_for(lambda: one.service.is_draining)
    try:
        assert one.client.get("/readyz").status_code == 503
        assert one.client.get("/readyz").json() == {"status": "draining"}
        assert one.client.get("/healthz").status_code == 200
        assert one.client.post("/v1/embed", content=picture(1)).status_code == 200
        assert one.client.post("/v1/search", json={"key": 1}).status_code == 200
        assert one.client.put("/v1/images/50", content=picture(1)).status_code == 201
    finally:
        one.server.should_exit = True


def test_a_service_that_is_not_open_says_so() -> None:
    from semblance.service.app import create_app

    async def main() -> None:
        transport = httpx.ASGITransport(app=create_app(settings_of(None, model="siamese")))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for answer in (
                await client.post("/v1/embed", content=b"x"), await client.get("/v1/info"),
                await client.post("/v1/search", content=b"x"), await client.put("/v1/images/1", content=b"x"),
            ):  # fmt: skip
                assert answer.status_code == 503
                assert answer.json()["type"] == "urn:semblance:problem:starting"
                assert answer.headers["retry-after"] == "1"
            assert (await client.get("/readyz")).json() == {"status": "starting"}
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/metrics")).status_code == 200

    asyncio.run(main())
