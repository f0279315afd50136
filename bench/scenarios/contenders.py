"""What LoadGen may be given to measure: the engine, and systems whose results are known beforehand.

A contender embeds samples and knows nothing of scenarios, queries or clocks. The known ones check the harness:
one takes exactly as long as it says, one gives embeddings of other samples, others fail in one way each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scenarios.samples import Form, files_for
from semblance.inference.encoder import Encoder
from semblance.inputs.decode import single_threaded

Sample = NDArray[np.uint8] | bytes
Embed = Callable[[list[Sample]], NDArray[np.float32]]
Done = Callable[[NDArray[np.float32] | BaseException], None]
Begin = Callable[[Sample, Done], None]

TAKES_MS = 5.0  # of a query of `takes_5_ms`
DIES_WITH = 7  # the status that `dies` leaves
_SLEPT_MS = 4.0  # of them; the rest is spun, since a sleep ends late by a tenth of a millisecond
_KNOWN_SAMPLES, _KNOWN_BATCH, _KNOWN_DIMENSION = 16, 8, 4  # what precedes LoadGen takes the first batch alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a contender is to be set up."""

    contender: str = "engine"
    model: Path | None = None  # None: of those that embed nothing
    backend: str = "auto"
    threads: int = 1
    streams: int = 1
    max_batch: int | None = None
    form: Form = "decoded"
    num_images: int = 256
    port: int | None = None  # of a service that is asked over HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A system, loaded and warm, with all that it can be asked for."""

    samples: Sequence[Sample]
    embed: Embed  # n samples -> [n, D] float32; may be called from `streams` threads
    own: Callable[[int], NDArray[np.float32]]  # n -> [n, D]: what it must answer for the first n samples
    max_batch: int
    streams: int
    described: dict[str, Any] = field(default_factory=dict)
    begin: Begin | None = None  # of one that takes many samples at a time: calls back with [D], from any thread


def open_contender(asked: Asked) -> Contender:
    """Load it. Raises whatever its model or pictures raise."""
    return _CONTENDERS[asked.contender](asked)


def _engine(asked: Asked) -> Contender:
    assert asked.model is not None
    single_threaded()  # pictures are decoded in the encoder's own threads, as many as were asked for
    encoder = Encoder.load(
        asked.model,
        backend=asked.backend,
        threads=asked.threads,
        streams=asked.streams,
        max_batch=asked.max_batch,
        workers=asked.threads,
    )
    card = encoder.card
    files = files_for(card, asked.num_images)
    is_decoded = asked.form == "decoded"

    def embed(samples: list[Sample]) -> NDArray[np.float32]:
        if not is_decoded:
            return encoder.embed(samples)
        images = np.stack(samples)  # [n, H, W, C]
        return encoder.run(images) if len(images) <= encoder.max_batch else encoder.embed(images)

    return Contender(
        samples=[encoder.prepare(each) for each in files.encoded] if is_decoded else files.encoded,
        embed=embed,
        own=lambda count: encoder.embed(files.encoded[:count]),  # decoded by itself, whatever `samples` are
        max_batch=encoder.max_batch,
        streams=encoder.streams,
        described={
            "model": card.name,
            "file": asked.model.name,
            "precision": card.precision,
            "image": f"{card.height}x{card.width}x{card.channels}",
            "dimension": card.dimension,
            "backend": encoder.backend,
            "description": encoder.description,
            "max_batch": encoder.max_batch,
            "streams": encoder.streams,
            "images": files.described,
        },
    )


def _service(asked: Asked) -> Contender:
    from bench.service.contender import open_service  # which needs all that this needs

    return open_service(asked)


def _batcher(asked: Asked) -> Contender:
    from bench.service.contender import open_batcher

    return open_batcher(asked)


# ------------------------------------------------------------------------------------------------------------------
# What the harness is checked with


def _takes_5_ms(asked: Asked) -> Contender:
    def embed(samples: list[Sample]) -> NDArray[np.float32]:
        end = time.perf_counter() + TAKES_MS / 1e3
        time.sleep(_SLEPT_MS / 1e3)
        while time.perf_counter() < end:
            pass
        return _numbers(samples)

    return _known(embed)


def _lies(asked: Asked) -> Contender:
    """Of each batch the embeddings in reverse; of a single sample, the next one's."""

    def embed(samples: list[Sample]) -> NDArray[np.float32]:
        numbers = _numbers(samples)
        return numbers[::-1] if len(numbers) > 1 else (numbers + 1) % _KNOWN_SAMPLES

    return _known(embed)


def _fails(asked: Asked) -> Contender:
    """Raises at the first sample that only LoadGen asks for."""

    def embed(samples: list[Sample]) -> NDArray[np.float32]:
        numbers = _numbers(samples)
        if numbers.max() >= _KNOWN_BATCH:
            raise ValueError("it was to fail, and did")
        return numbers

    return _known(embed)


def _forgets(asked: Asked) -> Contender:
    """Gives one embedding too few."""
    return _known(lambda samples: _numbers(samples)[1:])


def _dies(asked: Asked) -> Contender:
    """Ends its process at the first sample that only LoadGen asks for, as a crash of a runtime does."""

    def embed(samples: list[Sample]) -> NDArray[np.float32]:
        numbers = _numbers(samples)
        if numbers.max() >= _KNOWN_BATCH:
            os._exit(DIES_WITH)
        return numbers

    return _known(embed)


def _known(embed: Embed) -> Contender:
    """Samples are [1] uint8, their own number; its embedding is that number, four times."""
    samples: list[Sample] = [np.array([number], np.uint8) for number in range(_KNOWN_SAMPLES)]
    return Contender(
        samples=samples, embed=embed, own=lambda count: _numbers(samples[:count]), max_batch=_KNOWN_BATCH, streams=1
    )


def _numbers(samples: list[Sample]) -> NDArray[np.float32]:
    return np.repeat(np.stack(samples).astype(np.float32), _KNOWN_DIMENSION, axis=1)  # [n, 4]


_CONTENDERS: dict[str, Callable[[Asked], Contender]] = {
    "engine": _engine,
    "service": _service,
    "batcher": _batcher,
    "takes_5_ms": _takes_5_ms,
    "lies": _lies,
    "fails": _fails,
    "forgets": _forgets,
    "dies": _dies,
}
