"""One inference request: its body to pictures, these to vectors, and these to the answer's body.

In: a request and the service. Out: the answer, as JSON or with the embedding as binary data after it, compressed where
the client asks for that. The first picture that fails drops all others, since the protocol knows no other failure than
that of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from semblance.errors import DeadlineExceeded, ImageError
from semblance.inference.pending import Content
from semblance.service.admission import check_room
from semblance.service.bodies import read_bytes
from semblance.service.compression import deflated, inflated
from semblance.service.deadline import Deadline
from semblance.service.open_inference_documents import HEADER_LENGTH, INPUT, OUTPUT, VERSION
from semblance.service.problems import of_picture
from semblance.service.tensor_checks import TensorError, TooLarge
from semblance.service.tensors import InferenceRequest, Output, json_length, read_request, write_response
from semblance.service.tracing import span
from semblance.service.waiting import all_done, unless_gone

if TYPE_CHECKING:
    from semblance.service.budget import Share
    from semblance.service.state import Service

_LARGE_BYTES = 1 << 16  # what takes longer to take apart than a turn of the event loop may


async def infer(request: Request, service: Service, turn: asyncio.Lock) -> Response:
    """The answer to a request; `turn` is had by whoever reads large JSON, which takes many times its size.

    Raises TensorError, Problem, ClientGone, and what the batcher raises.
    """
    deadline = Deadline(service, None)
    check_room(service)
    with service.budget.share() as share:
        asked = await _read(request, service, share, turn)
        pictures = _pictures(asked, service.settings.max_images)
        is_binary = _is_binary(asked)
        request.state.told = {"images": len(pictures)}
        left_s = min(deadline.left_s, _timeout_s(asked.parameters) - deadline.taken_ms / 1e3)
        vectors = await unless_gone(request.receive, _embed(service, pictures, left_s))
    return await _answer(request, service, asked.id, Output(OUTPUT, vectors, is_binary))


async def _read(request: Request, service: Service, share: Share, turn: asyncio.Lock) -> InferenceRequest:
    settings, card = service.settings, service.encoder.card
    content = await read_bytes(request, share, settings.max_body_bytes)
    encoding = request.headers.get("content-encoding", "")
    body = await inflated(content, encoding, share, settings.max_body_bytes)
    header_length = request.headers.get(HEADER_LENGTH)

    def read() -> InferenceRequest:
        return read_request(
            body,
            header_length,
            raw=(INPUT, (1, card.height, card.width, card.channels)),
            max_elements=settings.max_images,
        )

    if len(body) <= _LARGE_BYTES:
        return read()
    if json_length(header_length, len(body)) <= _LARGE_BYTES:
        return await asyncio.to_thread(read)
    async with turn:
        return await asyncio.to_thread(read)


def _pictures(asked: InferenceRequest, most: int) -> Sequence[Content]:
    """The pictures of the request's one input. Raises TensorError, TooLarge."""
    for tensor in asked.inputs:
        if tensor.name != INPUT:
            raise TensorError(f"unknown input {tensor.name[:60]!r}; the model has: {INPUT}")
    (tensor,) = asked.inputs
    shape = tensor.shape
    if shape[0] > most:
        raise TooLarge(f"input {INPUT!r} has {shape[0]:,} pictures, the limit is {most:,}; send several requests")
    if isinstance(tensor.data, list):
        if len(tensor.data) != shape[0]:  # [N, 1] is as good as [N]: Triton's batches have a dimension more
            raise TensorError(f"input {INPUT!r} of BYTES must be of shape [N] or [N, 1], is {list(shape)}")
        return tensor.data
    if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape[1:]:
        raise TensorError(
            f"input {INPUT!r} of UINT8 must be of shape [N, height, width, channels] with 1 channel (grey) or 3 (RGB), "
            f"is {list(shape)}"
        )
    return list(tensor.data)


def _is_binary(asked: InferenceRequest) -> bool:
    """Whether the embedding is to be binary data. Raises TensorError for another output."""
    if asked.outputs is None:
        return asked.is_binary
    for name in asked.outputs:
        if name != OUTPUT:
            raise TensorError(f"unknown output {name[:60]!r}; the model has: {OUTPUT}")
    return asked.outputs[OUTPUT]


def _timeout_s(parameters: Mapping[str, Any]) -> float:
    """Triton's parameter `timeout`, in microseconds; 0 is none."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return float("inf")
    if type(timeout) is not int or timeout < 0:
        raise TensorError(f"the parameter timeout must be whole microseconds, is {str(timeout)[:60]!r}")
    return timeout / 1e6 if timeout else float("inf")


async def _embed(service: Service, pictures: Sequence[Content], timeout_s: float) -> NDArray[np.float32]:
    """[N, D] float32. Raises what the first of them raises that has no vector, after dropping the others."""
    if timeout_s <= 0:
        raise DeadlineExceeded("the deadline passed before the request was read; allow more time")
    with span("embed", images=len(pictures)):
        pending = service.batcher.submit_many(pictures, timeout_s=timeout_s)
        failed: list[int] = []
        for number, each in enumerate(pending):
            each.add_done_callback(_dropping(pending, number, failed))
        await all_done(pending)
    if failed:
        error = pending[failed[0]].exception()
        assert error is not None
        if isinstance(error, ImageError):
            raise of_picture(error, failed[0]) from error
        raise error
    if not pending:
        return np.empty((0, service.encoder.card.dimension), np.float32)
    return np.stack([each.result() for each in pending])


def _dropping(
    pending: Sequence[Future[NDArray[np.float32]]], number: int, failed: list[int]
) -> Callable[[Future[NDArray[np.float32]]], None]:
    """Called when picture `number` is done: the first that failed drops all others, which would be for nothing."""

    def done(each: Future[NDArray[np.float32]]) -> None:
        if each.cancelled() or each.exception() is None:
            return
        failed.append(number)
        if len(failed) == 1:
            for other in pending:
                other.cancel()

    return done


async def _answer(request: Request, service: Service, request_id: str | None, output: Output) -> Response:
    members: dict[str, Any] = {"model_name": service.encoder.card.name, "model_version": VERSION}
    if request_id is not None:
        members["id"] = request_id
    body, header_length = write_response(members, [output])
    content, encoding = await deflated(body, request.headers.get("accept-encoding", ""))
    headers = {"Vary": "Accept-Encoding"}  # whether it is compressed now or not
    if header_length is not None:
        headers[HEADER_LENGTH] = str(header_length)
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    media_type = "application/json" if header_length is None else "application/octet-stream"
    return Response(content, media_type=media_type, headers=headers)
