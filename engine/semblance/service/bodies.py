"""A request's body, within limits, as the pictures and parameters that it carries.

In: an ASGI request. Out: `Body`. Three forms: a picture's bytes as they are, multipart with a file for each picture, or
JSON with base64. A body is refused by what its headers declare before any of it is read, and by what comes where that
is more. No address is ever fetched, whatever a client writes into a field.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from semblance.service.base64_text import from_base64
from semblance.service.budget import Share
from semblance.service.problems import Problem

# bytes; what takes milliseconds to take apart is done beside the event loop, and a form is taken apart in Python
_LARGE, _LARGE_FORM = 1 << 20, 1 << 16
_FORM_FIELD_BYTES = 1 << 20  # all that is no file, in a form
_MOST_FIELDS = 64  # of a form, beside its pictures
_MOST_PART_HEADERS = 16
_MOST_JSON_VALUES = 100_000  # about; each takes up to 80 bytes, and the parser lets nobody else run meanwhile
_BASE64_DATA_URL = re.compile(r"data:[\w.+/-]*;base64,")  # as a page's canvas gives it
_FORMS = "a picture's own bytes (Content-Type: image/jpeg, application/octet-stream), multipart/form-data, or JSON"


@dataclass(slots=True)
class Body:
    """What a request carries: encoded pictures, and the members of its JSON document or fields of its form."""

    pictures: list[bytes] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)


async def read_bytes(request: Request, share: Share, max_bytes: int) -> bytes:
    """The whole body. Raises Problem where it is too large or the client leaves, Overloaded."""
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdecimal():
        if int(declared) > max_bytes:
            raise _too_large(int(declared), max_bytes)
        share.check(int(declared))
    parts, num_bytes = list[bytes](), 0
    receive = request.receive
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if part := message.get("body", b""):
            num_bytes += len(part)
            if num_bytes > max_bytes:
                raise _too_large(num_bytes, max_bytes)
            share.grow_to(num_bytes)
            parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


class ClientGone(Exception):
    """The connection is closed: nobody is there to be answered."""


async def read_body(request: Request, share: Share, *, max_bytes: int, max_pictures: int) -> Body:
    """The body of a request, taken apart; how many pictures there are is checked against the most only.

    Raises Problem: 400 for what is not of the form it claims, 413 for too many bytes, pictures, fields or values, 415
    for a form that is none of ours; ClientGone, Overloaded.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(
            415, "unsupported-encoding", f"Content-Encoding {encoding!r} is not taken; send the body as it is"
        )
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    take = _FORMS_BY_KIND.get(kind)
    if take is None:
        if kind and not kind.startswith(b"image/"):
            told = kind.decode("latin-1", "replace")
            raise Problem(415, "unsupported-media-type", f"Content-Type {told!r} is not taken; send {_FORMS}")
        take = _plain  # no type at all: most command lines' clients, told to send a file, name none
    content = await read_bytes(request, share, max_bytes)
    if not content:
        raise Problem(400, "empty-body", f"the body is empty; send {_FORMS}")
    if take is _plain or len(content) < (_LARGE_FORM if take is _form else _LARGE):
        body = take(content, parameters, max_pictures)
    else:
        body = await asyncio.to_thread(take, content, parameters, max_pictures)
    if len(body.pictures) > max_pictures:
        raise _too_many(max_pictures)
    return body


# ----------------------------------------------------------------------------------------------------------------------
# The forms


def _plain(content: bytes, parameters: Mapping[bytes, bytes], max_pictures: int) -> Body:
    return Body([content])


def _json(content: bytes, parameters: Mapping[bytes, bytes], max_pictures: int) -> Body:
    _check_complexity(content)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "malformed-json", f"the body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise Problem(400, "malformed-json", f"the body must be a JSON object, is a {type(document).__name__}")
    encoded: list[Any] = []
    if "images" in document:
        images = document.pop("images")
        if not isinstance(images, list) or not images:
            raise Problem(400, "malformed-json", '"images" must be a list of pictures in base64, one at least')
        encoded += images
    if "image" in document:
        encoded.append(document.pop("image"))
    if len(encoded) > max_pictures:  # before the work
        raise _too_many(max_pictures)
    return Body([_from_base64(text, number) for number, text in enumerate(encoded)], document)


def _check_complexity(content: bytes) -> None:
    """Refuse before it is laid out what would take many times its bytes, as `[{},{},...]`. Raises Problem.

    Each value stands behind a comma, or is the first of what a bracket opens. Those within strings count too, of which
    base64 has none.
    """
    if len(content) > _MOST_JSON_VALUES and sum(map(content.count, (b",", b"{", b"["))) > _MOST_JSON_VALUES:
        raise Problem(
            413,
            "json-too-complex",
            f"the JSON has more than {_MOST_JSON_VALUES:,} values, the limit; send pictures in base64, not as numbers",
        )


def _from_base64(text: object, number: int) -> bytes:
    if not isinstance(text, str):
        raise Problem(400, "malformed-base64", f"picture {number} must be a string of base64, is {type(text).__name__}")
    if found := _BASE64_DATA_URL.match(text):
        text = text[found.end() :]
    elif text.startswith(("http://", "https://", "file:", "data:", "ftp:")):
        raise Problem(400, "malformed-base64", f"picture {number} is an address, and none is ever fetched; send base64")
    try:
        return from_base64(text)
    except ValueError as error:
        raise Problem(400, "malformed-base64", f"picture {number} is no base64: {error}") from None


def _form(content: bytes, parameters: Mapping[bytes, bytes], max_pictures: int) -> Body:
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise Problem(400, "malformed-form", "Content-Type multipart/form-data has no boundary")
    parts = _Parts(max_pictures)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(content)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Problem(400, "malformed-form", f"the body is no multipart/form-data: {error}") from None
    if not parts.is_ended:
        raise Problem(400, "malformed-form", "the body ends within a part; was it sent whole?")
    if "metadata" in parts.fields:
        metadata = _json(parts.fields.pop("metadata").encode(), {}, 0)
        parts.fields.update(metadata.members)
    return Body(parts.pictures, dict(parts.fields))


class _Parts:
    """The parts of a form as a parser meets them."""

    def __init__(self, max_pictures: int) -> None:
        self.pictures: list[bytes] = []
        self.fields: dict[str, Any] = {}
        self.is_ended = False
        self._max_pictures = max_pictures
        self._num_parts = self._field_bytes = 0
        self._pieces: list[bytes] = []
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._name,
            "on_header_value": self._value,
            "on_header_end": self._header,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > self._max_pictures + _MOST_FIELDS:
            raise Problem(
                413,
                "too-many-parts",
                f"the form has more than {self._max_pictures + _MOST_FIELDS} parts, the limit: "
                f"{self._max_pictures} pictures and {_MOST_FIELDS} fields",
            )
        self._pieces, self._headers = [], {}

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header(self) -> None:
        if len(self._headers) >= _MOST_PART_HEADERS:
            raise ValueError(f"a part has more than {_MOST_PART_HEADERS} headers")
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise ValueError("a part has no Content-Disposition: form-data with a name")
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        if b"filename" in options or self._headers.get(b"content-type", b"").startswith(b"image/"):
            if len(self.pictures) >= self._max_pictures:
                raise _too_many(self._max_pictures)
            self.pictures.append(content)
            return
        self._field_bytes += len(options[b"name"]) + len(content)
        if self._field_bytes > _FORM_FIELD_BYTES:
            raise ValueError(f"its fields have more than {_FORM_FIELD_BYTES:,} bytes; a picture needs a filename")
        self.fields[options[b"name"].decode("utf-8", "replace")] = content.decode("utf-8", "replace")

    def _finish(self) -> None:
        self.is_ended = True


_FORMS_BY_KIND: dict[bytes, Any] = {
    b"application/json": _json,
    b"multipart/form-data": _form,
    b"application/octet-stream": _plain,
    # curl's --data-binary says so of whatever it sends, and no form of ours looks like this
    b"application/x-www-form-urlencoded": _plain,
}


def _too_large(num_bytes: int, most: int) -> Problem:
    return Problem(413, "body-too-large", f"the body has {num_bytes:,} bytes or more, the limit is {most:,}")


def _too_many(most: int) -> Problem:
    return Problem(413, "too-many-pictures", f"the request has more than {most} pictures, the limit; send several")
