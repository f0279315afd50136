"""Changes brought to the process that writes, over real sockets."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import struct
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import (
    Closed,
    GalleryError,
    ImageTooLarge,
    InputError,
    Overloaded,
    SemblanceError,
    ServiceError,
    SpaceMismatch,
)
from semblance.gallery.keypoints import Keypoints
from semblance.gallery.shards import Row
from semblance.gallery.stored_keypoints import PictureKeypoints
from semblance.service.forwarding import ChangesServer, ForwardingWriter
from semblance.service.frames import put_frame, read_frame, sized

_ROW = Row(7, "photos/\udcff\n.jpg", "ab" * 32, 640, 480, "Hündin", {"a": 1, "b": 2.5, "c": None, "d": True, "e": "x"})
_VECTOR = np.linspace(-1, 1, 16, dtype=np.float32)


@dataclass
class _Changes:
    """Keeps what it was given; `later` answers only when told."""

    error: Exception | None = None
    later: bool = False
    seen: list[Any] = field(default_factory=list)
    futures: list[Future[bool]] = field(default_factory=list)

    def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> Future[bool]:
        self.seen.append((row, vector, keypoints))
        return self._answer(True)

    def remove(self, key: int) -> Future[bool]:
        self.seen.append(key)
        return self._answer(key == 7)

    def _answer(self, answer: bool) -> Future[bool]:
        if isinstance(self.error, Overloaded):
            raise self.error  # on the spot, as when there are too many
        future: Future[bool] = Future()
        self.futures.append(future)
        if self.error is not None:
            future.set_exception(self.error)
        elif not self.later:
            future.set_result(answer)
        return future


def _run(
    tmp_path: Path, changes: _Changes, work: Callable[[ForwardingWriter], Awaitable[None]], **options: Any
) -> None:
    async def main() -> None:
        async with ChangesServer(tmp_path / "writes", changes, **options):
            writer = ForwardingWriter(tmp_path / "writes", patience_s=1)
            try:
                await work(writer)
            finally:
                await writer.close()

    asyncio.run(asyncio.wait_for(main(), 4))


def _keypoints(num: int) -> PictureKeypoints:
    rng = np.random.default_rng(num)
    floats = [rng.random(shape, np.float32) for shape in ((num, 2), num, num, num)]
    return PictureKeypoints(*floats, rng.integers(0, 256, (num, 128), np.uint8))


@pytest.mark.parametrize("num", [None, 0, 1, 500])
def test_a_picture_arrives_as_it_was(tmp_path: Path, num: int | None) -> None:
    changes, keypoints = _Changes(), None if num is None else _keypoints(num)

    async def work(writer: ForwardingWriter) -> None:
        assert await writer.put(_ROW, _VECTOR, keypoints)

    _run(tmp_path, changes, work)
    ((row, vector, found),) = changes.seen
    assert row == _ROW
    assert vector.dtype == np.float32
    np.testing.assert_array_equal(vector, _VECTOR)
    if keypoints is None:
        assert found is None
        return
    assert len(found) == num
    for name in ("points", "sizes", "angles", "responses", "descriptors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(keypoints, name))


def test_a_key_is_removed(tmp_path: Path) -> None:
    async def work(writer: ForwardingWriter) -> None:
        assert await writer.remove(7)
        assert not await writer.remove(-(2**63))

    _run(tmp_path, _Changes(), work)


@pytest.mark.parametrize(
    "error",
    [InputError("a"), GalleryError("b"), SpaceMismatch("c"), Overloaded("d"), Closed("e"), ImageTooLarge("f")],
)
def test_errors_are_of_their_class(tmp_path: Path, error: SemblanceError) -> None:
    async def work(writer: ForwardingWriter) -> None:
        for change in (writer.put(_ROW, _VECTOR), writer.remove(7)):
            with pytest.raises(type(error), match=str(error)) as caught:
                await change
            assert type(caught.value) is type(error)

    _run(tmp_path, _Changes(error), work)


def test_what_nobody_expected_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(writer: ForwardingWriter) -> None:
        with pytest.raises(GalleryError, match="its log says why"):
            await writer.remove(7)

    _run(tmp_path, _Changes(RuntimeError("secret")), work)
    assert "secret" in caplog.text


def test_many_are_under_way_and_answered_in_any_order(tmp_path: Path) -> None:
    changes = _Changes(later=True)

    async def work(writer: ForwardingWriter) -> None:
        tasks = [asyncio.create_task(writer.remove(key)) for key in range(200)]
        while len(changes.futures) < 200:
            await asyncio.sleep(0.005)
        assert changes.seen == list(range(200))
        for key, future in reversed(list(enumerate(changes.futures))):
            future.set_result(key % 3 == 0)
        assert await asyncio.gather(*tasks) == [key % 3 == 0 for key in range(200)]

    _run(tmp_path, changes, work)


def test_whoever_leaves_does_not_disturb_the_others(tmp_path: Path) -> None:
    changes = _Changes(later=True)

    async def work(writer: ForwardingWriter) -> None:
        gone, stays = asyncio.create_task(writer.remove(1)), asyncio.create_task(writer.remove(2))
        while len(changes.futures) < 2:
            await asyncio.sleep(0.005)
        gone.cancel()
        await asyncio.sleep(0.01)
        for future in changes.futures:
            future.set_result(True)
        assert await stays
        assert await asyncio.gather(gone, return_exceptions=True) != [True]

    _run(tmp_path, changes, work)


def test_where_nobody_listens(tmp_path: Path) -> None:
    async def main() -> None:
        writer = ForwardingWriter(tmp_path / "writes", patience_s=0.2)
        with pytest.raises(ServiceError, match="nothing was stored"):
            await writer.put(_ROW, _VECTOR)
        await writer.close()
        with pytest.raises(Closed):
            await writer.remove(1)

    asyncio.run(main())


def test_each_has_its_patience_from_when_it_asks(tmp_path: Path) -> None:
    async def main() -> None:
        writer = ForwardingWriter(tmp_path / "writes", patience_s=0.4)
        start = time.monotonic()
        found = await asyncio.gather(*(writer.remove(key) for key in range(4)), return_exceptions=True)
        assert time.monotonic() - start < 1.0
        assert [type(each) for each in found] == [ServiceError] * 4
        assert all("cannot be reached (" in str(each) and "()" not in str(each) for each in found)
        await writer.close()

    asyncio.run(asyncio.wait_for(main(), 8))


def test_a_picture_too_large_is_not_sent(tmp_path: Path) -> None:
    async def main() -> None:
        writer = ForwardingWriter(tmp_path / "writes", max_frame_bytes=10_000)
        with pytest.raises(InputError, match="store fewer keypoints"):
            await writer.put(_ROW, _VECTOR, _keypoints(100))

    asyncio.run(main())


@pytest.mark.parametrize(
    "bytes_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<II", 2**31, 0),
        struct.pack("<II", 3, 0) + b"nil",
        sized([1]),  # type: ignore[arg-type]
        sized({"id": "x"}),
        sized({"id": 1, "do": "remove"})[:-3],
    ],
)
def test_what_is_no_frame_ends_its_connection_only(tmp_path: Path, bytes_: bytes) -> None:
    async def work(writer: ForwardingWriter) -> None:
        reader, other = await asyncio.open_unix_connection(str(tmp_path / "writes"))
        assert await read_frame(reader) is not None  # it is served
        other.write(bytes_)
        other.write_eof()
        assert await reader.read() == b""
        other.close()
        assert await writer.remove(7)

    _run(tmp_path, _Changes(), work)


@pytest.mark.parametrize(
    "header",
    [
        {"id": 1, "do": "remove"},
        {"id": 1, "do": "remove", "key": "x"},
        {"id": 1, "do": "put"},
        {"id": 1, "do": "put", "row": {"key": 1}, "dimension": 0, "num_keypoints": None},
        {"id": 1, "do": "put", "row": {}, "dimension": 4, "num_keypoints": 2},
        {"id": 1, "do": "put", "row": {}, "dimension": -5, "num_keypoints": 0},
    ],
)
def test_a_frame_that_is_no_change_is_an_error_of_its_own(tmp_path: Path, header: dict[str, Any]) -> None:
    async def work(writer: ForwardingWriter) -> None:
        reader, other = await asyncio.open_unix_connection(str(tmp_path / "writes"))
        assert await read_frame(reader) is not None
        other.write(sized(header))
        frame = await read_frame(reader)
        assert frame is not None
        assert frame.header["error"] == "GalleryError"
        other.close()
        assert await writer.remove(7)

    _run(tmp_path, _Changes(), work)


def test_a_frame_has_no_names_of_classes() -> None:
    assert b"semblance" not in put_frame(1, _ROW, _VECTOR, _keypoints(3))


# ----------------------------------------------------------------------------------------------------------------------
# The process that writes dies and is replaced


class _Writes:
    """As the process that writes: keys below 0 kill it, others are told at once whether they are even."""

    def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> Future[bool]:
        return self.remove(row.key)

    def remove(self, key: int) -> Future[bool]:
        if key < 0:
            os._exit(9)
        future: Future[bool] = Future()
        future.set_result(key % 2 == 0)
        return future


def _write(path: Path) -> None:
    async def main() -> None:
        async with ChangesServer(path, _Writes()):
            await asyncio.sleep(30)

    asyncio.run(main())


def test_a_killed_process_and_the_next(tmp_path: Path) -> None:
    path, context = tmp_path / "writes", multiprocessing.get_context("spawn")
    first = context.Process(target=_write, args=(path,))
    first.start()

    async def main() -> None:
        writer = ForwardingWriter(path, patience_s=4)
        assert await writer.remove(4)
        with pytest.raises(GalleryError, match="may have been stored or not"):
            await writer.put(Row(-1, "", "", 1, 1), _VECTOR)
        start, later = time.monotonic(), asyncio.create_task(writer.remove(4))
        await asyncio.sleep(0.2)
        second = context.Process(target=_write, args=(path,))
        second.start()
        try:
            assert await later  # it waited: nothing of it had been sent
            assert time.monotonic() - start < 4
            assert not await writer.remove(5)
        finally:
            second.kill()
        await writer.close()

    asyncio.run(asyncio.wait_for(main(), 8))
    first.join(1)
    assert first.exitcode == 9
