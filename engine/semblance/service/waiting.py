"""Waiting for an answer on behalf of a client that may leave first.

In: futures of the batcher, or work of a coroutine. Out: what they end in, or ClientGone, with the work cancelled: an
image whose caller left costs nothing more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Receive

from semblance.service.bodies import ClientGone

T = TypeVar("T")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; ClientGone, and the work cancelled, where the connection closes first.

    `receive` is the request's, its body read to the end: then it has nothing more to say than that.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_closed(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _closed(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def all_done(futures: Sequence[Future[Any]]) -> None:
    """Wait until each is done, in whatever way; where this is cancelled, cancel them.

    With one call into the event loop for all of them: a call for each would cost as much as embedding a small picture.
    """
    loop = asyncio.get_running_loop()
    everything = loop.create_future()
    lock = threading.Lock()
    left = len(futures)

    def done(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        with suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
            loop.call_soon_threadsafe(_set, everything)

    for each in futures:
        each.add_done_callback(done)
    if not futures:
        return
    try:
        await everything
    except asyncio.CancelledError:
        for each in futures:
            each.cancel()
        raise


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
