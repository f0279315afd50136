"""Waiting on behalf of a client: what is done, what is dropped, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from semblance.service.bodies import ClientGone
from semblance.service.waiting import all_done, unless_gone


def ran(work: Coroutine[Any, Any, Any]) -> Any:
    async def alone() -> Any:
        try:
            return await asyncio.wait_for(work, 10)
        finally:
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"

    return asyncio.run(alone())


class Connection:
    """A request's `receive`, whose client leaves when it is told to."""

    def __init__(self) -> None:
        self.is_closed = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.is_closed.wait()
        return {"type": "http.disconnect"}


async def value(what: Any) -> Any:
    await asyncio.sleep(0)
    if isinstance(what, BaseException):
        raise what
    return what


def test_what_the_work_gives() -> None:
    async def main() -> None:
        assert await unless_gone(Connection().receive, value(7)) == 7
        with pytest.raises(KeyError):
            await unless_gone(Connection().receive, value(KeyError()))

    ran(main())


def test_a_client_that_leaves_takes_its_work_along() -> None:
    async def main() -> None:
        connection, ended = Connection(), list[str]()

        async def work() -> None:
            try:
                connection.is_closed.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # as what lets go of something may take a moment
                ended.append("cancelled")
                raise

        with pytest.raises(ClientGone):
            await unless_gone(connection.receive, work())
        assert ended == ["cancelled"]

    ran(main())


def test_an_answer_that_is_there_counts_though_the_client_left() -> None:
    async def main() -> None:
        connection = Connection()
        connection.is_closed.set()
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(3)

        async def work() -> int:
            return await done

        assert await unless_gone(connection.receive, work()) == 3

    ran(main())


def test_whoever_waits_may_be_cancelled() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        waiting = asyncio.ensure_future(unless_gone(Connection().receive, work()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended.is_set()

    ran(main())


def test_all_are_waited_for_however_they_end() -> None:
    async def main() -> None:
        futures: list[Future[int]] = [Future() for _ in range(50)]
        go = threading.Event()

        def finish(number: int) -> None:
            go.wait(10)
            if number % 3 == 0:
                futures[number].set_exception(KeyError())
            elif number % 3 == 1:
                futures[number].cancel()
                futures[number].set_running_or_notify_cancel()
            else:
                futures[number].set_result(number)

        with ThreadPoolExecutor(8) as pool:
            pool.map(finish, range(50))
            waiting = asyncio.ensure_future(all_done(futures))
            await asyncio.sleep(0)
            assert not waiting.done()
            go.set()
            await waiting
        assert all(each.done() for each in futures)

    ran(main())


def test_none_and_such_as_are_done() -> None:
    async def main() -> None:
        await all_done([])
        done: Future[int] = Future()
        done.set_result(1)
        await all_done([done, done])

    ran(main())


def test_whoever_stops_waiting_cancels_them() -> None:
    async def main() -> None:
        futures: list[Future[int]] = [Future() for _ in range(3)]
        futures[0].set_result(1)
        waiting = asyncio.ensure_future(all_done(futures))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert [each.cancelled() for each in futures] == [False, True, True]

    ran(main())


def test_one_that_is_done_after_the_loop_is_closed_disturbs_nobody() -> None:
    future: Future[int] = Future()

    async def main() -> None:
        waiting = asyncio.ensure_future(all_done([future]))
        await asyncio.sleep(0)
        waiting.cancel()

    future.set_running_or_notify_cancel()  # it cannot be cancelled any more
    asyncio.run(main())
    future.set_result(1)
