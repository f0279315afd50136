"""Changes of the gallery brought from the processes that serve to the one that writes, over a Unix domain socket.

In: a row with its vector and keypoints, or a key. Out: what the writing process says to it: its answer, or its error.
Many are under way on one connection, each with a number. What was sent on a connection that broke is never sent again:
its answer (whether the key was new) would be another, and meanwhile somebody else may have changed the same key, whose
change would be undone. What could not be sent at all is tried again until `patience_s` is over.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.errors import Closed, GalleryError, ServiceError
from semblance.gallery.keypoints import Keypoints
from semblance.gallery.shards import Row
from semblance.service.frames import (
    MAX_FRAME_BYTES,
    Frame,
    error_frame,
    error_in,
    put_frame,
    put_in,
    read_frame,
    sized,
)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.5
_HELLO = sized({"id": -1})
_log = logging.getLogger(__name__)


class Changes(Protocol):
    """Where changes go in the process that writes; `semblance.gallery.commits.GroupCommits` is one."""

    def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> Future[bool]:
        """Store a picture; whether its key is new."""

    def remove(self, key: int) -> Future[bool]:
        """Remove a picture; whether there was one."""


class ChangesServer:
    """Takes others' changes in the process that writes. Use `async with`."""

    def __init__(self, path: Path, changes: Changes, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """Listen on `path`, which lies in a folder for this user only, and bring what comes to `changes`."""
        self._path = path
        self._changes = changes
        self._max_frame_bytes = max_frame_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ChangesServer:
        self._path.unlink(missing_ok=True)  # of a process that was killed
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        except OSError as error:  # as a path longer than such sockets may have
            raise ServiceError(f"cannot listen on {self._path} ({error}); set TMPDIR to another folder") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more; what was taken is answered."""
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            writer.write(_HELLO)
            while (frame := await read_frame(reader, self._max_frame_bytes)) is not None:
                task = asyncio.create_task(self._answer(frame, self._begin(frame), writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except ConnectionError:
            pass
        except GalleryError as error:
            _log.error("changes came damaged from another process: %s", error)
        finally:
            self._writers.discard(writer)
            writer.close()

    def _begin(self, frame: Frame) -> Future[bool]:
        """In the order in which they came."""
        try:
            if frame.header["do"] == "remove":
                return self._changes.remove(int(frame.header["key"]))
            return self._changes.put(*put_in(frame))
        except Exception as error:
            failed: Future[bool] = Future()
            failed.set_exception(error)
            return failed

    async def _answer(self, frame: Frame, future: Future[bool], writer: asyncio.StreamWriter) -> None:
        try:
            answer = sized({"id": frame.header["id"], "is": await asyncio.wrap_future(future)})
        except Exception as error:
            answer = error_frame(frame.header["id"], error)
        with suppress(ConnectionError):  # whoever asked is gone
            writer.write(answer)
            await writer.drain()


class ForwardingWriter:
    """Brings changes to the process that writes. Of one event loop; `close` at its end."""

    def __init__(self, path: Path, *, patience_s: float = 5.0, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """`patience_s` is how long a change waits for a connection, as while that process is replaced."""
        self._path = path
        self._patience_s = patience_s
        self._max_frame_bytes = max_frame_bytes
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bool]] = {}  # of the connection that is open
        self._connecting = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_closed = False

    async def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> bool:
        """Store a picture; whether its key is new.

        Raises what the writing process raises; ServiceError where it cannot be reached, and nothing was sent;
        GalleryError where it died meanwhile, and the picture may be stored or not.
        """
        number = next(self._numbers)
        return await self._ask(number, put_frame(number, row, vector, keypoints, self._max_frame_bytes))

    async def remove(self, key: int) -> bool:
        """Remove a picture; whether there was one. Raises as `put`."""
        number = next(self._numbers)
        return await self._ask(number, sized({"id": number, "do": "remove", "key": int(key)}))

    async def close(self) -> None:
        """Whatever waits is told that it may have been stored or not."""
        self._is_closed = True
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            await self._reading

    async def _ask(self, number: int, frame: bytes) -> bool:
        writer = await self._connected()
        # no await between looking and writing: what is written went out on the connection that was looked at
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        writer.write(frame)
        try:
            with suppress(ConnectionError):  # the reader tells all that wait
                await writer.drain()
            return await waiting
        finally:
            self._waiting.pop(number, None)

    async def _connected(self) -> asyncio.StreamWriter:
        end, wait_s = time.monotonic() + self._patience_s, _FIRST_WAIT_S  # with the time that others are trying
        async with self._connecting:
            while self._writer is None or self._writer.is_closing():
                if self._is_closed:
                    raise Closed("this process is ending; nothing was stored")
                try:
                    reader, writer = await asyncio.wait_for(self._open(), end - time.monotonic())
                except (OSError, GalleryError, TimeoutError) as error:
                    if time.monotonic() + wait_s > end:
                        why = str(error) or f"no answer within {self._patience_s:g} s"
                        raise ServiceError(
                            f"the process that writes cannot be reached ({why}); nothing was stored, ask again"
                        ) from error
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                else:
                    self._writer, self._waiting = writer, {}
                    self._reading = asyncio.create_task(self._read(reader, writer, self._waiting))
        return self._writer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that is served: one that a dying process took only breaks, before anything is sent on it."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            if await read_frame(reader, self._max_frame_bytes) is None:
                raise ConnectionResetError("it ended at once")
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: dict[int, asyncio.Future[bool]]
    ) -> None:
        """Hand out the answers of one connection until it ends."""
        why = "it ended"
        try:
            while (frame := await read_frame(reader, self._max_frame_bytes)) is not None:
                future = waiting.get(frame.header["id"])
                if future is None or future.done():  # whoever asked has left
                    continue
                if "error" in frame.header:
                    future.set_exception(error_in(frame))
                else:
                    future.set_result(bool(frame.header["is"]))
        except (OSError, GalleryError) as error:
            why = str(error)
        finally:
            writer.close()
            for future in waiting.values():
                if not future.done():
                    future.set_exception(
                        GalleryError(
                            f"the connection to the process that writes broke ({why}): the change may have been stored "
                            "or not; read the picture, or make the change again"
                        )
                    )
