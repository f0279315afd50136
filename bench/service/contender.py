"""The service as LoadGen's system under test, and the batcher inside of it: in both queries may pile up.

In: what `bench.scenarios` asks of a contender. Out: one that takes a sample at any time and calls back. Over HTTP the
client's event loop is a thread of LoadGen's process, and each query is a request on a kept connection.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scenarios.contenders import Asked, Contender, Done, Sample
from bench.scenarios.samples import Files, files_for
from bench.service.connections import Exchange, Pool
from bench.service.processes import end_with_parent
from bench.service.wire import embed_request
from semblance.card import ModelCard, read_card
from semblance.errors import BackendError
from semblance.inference.batcher import Batcher
from semblance.inference.encoder import Encoder

_MAX_BATCH = 32  # as the service has it
_CONNECTIONS = 512
_PATIENCE_S = 60.0


def open_service(asked: Asked) -> Contender:
    """A service that answers on a port of this machine."""
    assert asked.model is not None
    assert asked.port is not None
    end_with_parent()
    card = read_card(asked.model)
    files = files_for(card, asked.num_images)
    client = _Client(asked.port)
    requests: dict[bytes, bytes] = {each: embed_request([each]) for each in files.encoded}

    def begin(sample: Sample, done: Done) -> None:
        assert isinstance(sample, bytes)
        client.ask(requests[sample], done)

    def embed(samples: list[Sample]) -> NDArray[np.float32]:
        return _together(begin, samples)

    return Contender(
        samples=files.encoded,
        embed=embed,
        own=lambda count: _own(asked, files, count),
        max_batch=_MAX_BATCH,
        streams=1,
        described=_described(asked, card, files, "over HTTP"),
        begin=begin,
    )


def open_batcher(asked: Asked) -> Contender:
    """The batcher in LoadGen's own process."""
    assert asked.model is not None
    end_with_parent()
    encoder = Encoder.load(
        asked.model, backend=asked.backend, threads=asked.threads, max_batch=_MAX_BATCH, spinning=False
    )
    files = files_for(encoder.card, asked.num_images)
    batcher = Batcher(encoder, max_batch=_MAX_BATCH).start()

    def begin(sample: Sample, done: Done) -> None:
        def tell(future: Future[NDArray[np.float32]]) -> None:
            error = future.exception()
            done(error if error is not None else future.result())

        batcher.submit(sample).add_done_callback(tell)

    return Contender(
        samples=files.encoded,
        embed=lambda samples: _together(begin, samples),
        own=lambda count: encoder.embed(files.encoded[:count]),
        max_batch=_MAX_BATCH,
        streams=1,
        described=_described(asked, encoder.card, files, encoder.description),
        begin=begin,
    )


class _Client:
    """An event loop in a thread, with connections to the service."""

    def __init__(self, port: int) -> None:
        self._loop = _new_loop()
        self._pool: Pool
        is_open = threading.Event()

        async def opened() -> None:
            self._pool = Pool(port, max_connections=_CONNECTIONS, limit_s=_PATIENCE_S)
            is_open.set()

        def work() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.create_task(opened())
            self._loop.run_forever()

        threading.Thread(target=work, name="client", daemon=True).start()
        if not is_open.wait(_PATIENCE_S):
            raise BackendError("the client's event loop did not start")

    def ask(self, request: bytes, done: Done) -> None:
        def tell(exchange: Exchange) -> None:
            if exchange.status == 200 and not exchange.failure:
                done(np.frombuffer(exchange.body, np.float32))
            else:
                said = exchange.failure or exchange.body[:200].decode(errors="replace")
                done(BackendError(f"the service answered {exchange.status}: {said}"))

        self._loop.call_soon_threadsafe(self._pool.ask, Exchange(request, time.monotonic(), tell))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _together(begin: Any, samples: list[Sample]) -> NDArray[np.float32]:
    """[n, D] of n samples that are asked for at once, and waited for."""
    futures: list[Future[NDArray[np.float32]]] = [Future() for _ in samples]
    for sample, future in zip(samples, futures, strict=True):

        def done(answer: NDArray[np.float32] | BaseException, future: Future[Any] = future) -> None:
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        begin(sample, done)
    return np.stack([each.result(_PATIENCE_S) for each in futures])


def _own(asked: Asked, files: Files, count: int) -> NDArray[np.float32]:
    """By an encoder of this process, which is loaded after all that is timed."""
    assert asked.model is not None
    encoder = Encoder.load(
        asked.model, backend=asked.backend, threads=asked.threads, max_batch=_MAX_BATCH, spinning=False
    )
    return encoder.embed(files.encoded[:count])


def _described(asked: Asked, card: ModelCard, files: Files, description: str) -> dict[str, Any]:
    assert asked.model is not None
    return {
        "model": card.name,
        "file": asked.model.name,
        "precision": card.precision,
        "image": f"{card.height}x{card.width}x{card.channels}",
        "dimension": card.dimension,
        "backend": asked.backend,
        "description": description,
        "max_batch": _MAX_BATCH,
        "streams": 1,
        "images": files.described,
    }
