"""Strangers with bad intentions, on real sockets: each is refused in the right way, and the next one is served."""

from __future__ import annotations

import ast
import base64
import gzip
import inspect
import io
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from semblance.inference.encoder import Encoder
from semblance.search import Gallery
from semblance.service import guard
from tests.semblance.service.drawn import copy_of, make_gallery, picture
from tests.semblance.service.real import Answer, Serve, ask, read_answer, serving, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and /proc")

TOKEN = "the-token-0123456789abcdef"
MAX_BODY, MAX_PENDING, MAX_PIXELS, MAX_IMAGES = 2_000_000, 8_000_000, 1_000_000, 16
_PNG = {"Content-Type": "image/png"}
_JSON = {"Content-Type": "application/json"}
_OWN = picture(1)
_LIMITS = (
    "--threads", 1, "--max-body-bytes", MAX_BODY, "--max-pending-bytes", MAX_PENDING, "--max-pixels", MAX_PIXELS,
    "--max-images", MAX_IMAGES, "--body-timeout-s", 2, "--header-timeout-s", 2, "--log-format", "json",
)  # fmt: skip


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("security"))


@pytest.fixture(scope="module")
def _served(gallery: Path) -> Iterator[tuple[Serve, list[float]]]:
    with serving(gallery, *_LIMITS) as serve:
        yield serve, _embedding(serve)


@pytest.fixture
def serve(_served: tuple[Serve, list[float]]) -> Iterator[Serve]:
    """A service without a token, which is none the worse after each test."""
    found, expected = _served
    yield found
    assert found.process.poll() is None
    assert _embedding(found) == expected
    # all that it held for requests has been let go
    wait_for(lambda: b"semblance_pending_bytes 0.0" in found.ask("GET", "/metrics").content)
    assert "Traceback" not in found.log


@pytest.fixture(scope="module")
def guarded(gallery: Path) -> Iterator[Serve]:
    """One with a token, and a page elsewhere that may ask."""
    arguments = ["--read-only", "--allow-origin", "https://page.example", *_LIMITS]
    with serving(gallery, *arguments, env={"SEMBLANCE_SERVE_TOKEN": TOKEN}) as found:
        yield found
        assert TOKEN not in found.log


def _embedding(serve: Serve) -> list[float]:
    answer = serve.ask("POST", "/v1/embed", _OWN, _PNG)
    assert answer.status == 200, answer
    (vector,) = answer.document["embeddings"]
    assert len(vector) == 16
    return list(map(float, vector))


def _refused(answer: Answer, *statuses: int) -> None:
    """A problem document of one of `statuses` that tells nothing of the server."""
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["status"] == answer.status
    assert answer.headers["x-request-id"] in answer.document["instance"]
    text = answer.content.decode()
    for told in ("Traceback", '.py"', "site-packages", "pytest-of", "/semblance/", TOKEN, "object at 0x"):
        assert told not in text, text
    assert len(text) < 12_000  # of what was sent, only so much comes back


def _raw(head: str, *more: bytes) -> tuple[bytes, ...]:
    return (head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n", *more)


# ----------------------------------------------------------------------------------------------------------------------
# Files

_CLIMBS = [
    "../etc/passwd", "..%2fetc%2fpasswd", "%2e%2e/etc/passwd", "%2e%2e%2fetc%2fpasswd", "..%252fetc%252fpasswd",
    "..%5cetc%5cpasswd", "..\\etc\\passwd", "....//etc/passwd", "..;/etc/passwd", "%c0%ae%c0%ae/etc/passwd",
    "%uff0e%uff0e/etc/passwd", "/etc/passwd", "//etc/passwd", "%00", "page.js%00.html", "./page.js/../../app.py",
    "..", ".", "%2e", "~root", "C:%5cwindows", "file:///etc/passwd", "index.html/", "../app.py", "..%2f__init__.py",
]  # fmt: skip


@pytest.mark.parametrize("climb", _CLIMBS)
def test_no_path_is_made_of_an_address(serve: Serve, climb: str) -> None:
    for before in ("/page/", "/v1/images/", "/v1/images/3/", "/v2/models/", "/"):
        for method in ("GET", "PUT", "DELETE"):
            answer = serve.raw(*_raw(f"{method} {before}{climb} HTTP/1.1\nHost: localhost\nContent-Length: 0"))
            assert answer.status in (400, 404, 405), (before, answer)
            _refused(answer, answer.status)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures to be shown in `shown`, and others beside it that nobody should see."""
    return _made(tmp_path)


def _made(folder: Path) -> Path:
    for place in ("shown", "shown/inner", "secret"):
        (folder / place).mkdir()
    for number in range(6):
        (folder / "shown" / f"{number}.png").write_bytes(picture(number))
    (folder / "shown" / "inner" / "6.png").write_bytes(picture(6))
    (folder / "secret" / "0.png").write_bytes(picture(0))  # the same as what is shown: only the place differs
    (folder / "secret" / "9.png").write_bytes(picture(9))
    return folder


@pytest.fixture
def of_folder(folder: Path, gallery: Path) -> Path:
    return _built(folder, gallery)


def _built(folder: Path, gallery: Path) -> Path:
    (folder / "tiny.onnx").write_bytes((gallery.parent / "tiny.onnx").read_bytes())
    Gallery.build(folder / "shown", Encoder.load(str(folder / "tiny.onnx")), folder / "gallery")
    return folder / "gallery"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, gallery: Path) -> Iterator[tuple[Serve, Path]]:
    """A service over such a folder, whose gallery is written into, and the folder."""
    folder = _made(tmp_path_factory.mktemp("written"))
    with serving(_built(folder, gallery), *_LIMITS) as found:
        yield found, folder
        assert "Traceback" not in found.log


def _shown(serve: Serve, key: int) -> bool:
    """Whether the picture is shown, in each way in which it might be."""
    answer = serve.ask("GET", f"/v1/images/{key}")
    if answer.status == 200:
        assert answer.headers["content-type"] in ("image/png", "image/jpeg")
    else:
        _refused(answer, 404)
        _refused(serve.ask("POST", f"/v1/images/{key}/matches", _OWN, _PNG), 404)
    return answer.status == 200


@pytest.mark.parametrize(
    "uri",
    [
        "../secret/0.png", "../secret/9.png", "inner/../../secret/9.png", "/etc/passwd", "../../../../../../etc/passwd",
        "5.png", "inner", ".", "..", "", " ", "5.png\0", "\0", "..\0/secret/9.png", "x" * 4096, "a/" * 2000, "~/x",
        "file:///etc/passwd", "http://127.0.0.1:9/x.png", "\ud7ff\uffff", "/dev/zero", "/dev/stdin",
        "/proc/self/environ", "/proc/self/fd/0", "%2e%2e/secret/9.png", "..\\secret\\9.png",
    ],
)  # fmt: skip
def test_a_name_that_a_client_wrote_opens_no_file(written: tuple[Serve, Path], uri: str) -> None:
    serve, folder = written
    absolute = str(folder / "secret" / "9.png")
    for name in (uri, absolute):
        for key in (5, 500):  # in the place of a picture that is shown, and a new one
            put = {"image": base64.b64encode(picture(9)).decode(), "uri": name}
            assert serve.ask("PUT", f"/v1/images/{key}", put).status in (200, 201)
            assert not _shown(serve, key)
            known = serve.ask("GET", f"/v1/images/{key}", headers={"Accept": "application/json"}).document
            assert known["uri"] == (name or f"upload/{key}")
            assert known["thumbnail"] is None or key == 5
    assert _shown(serve, 1)


def test_a_picture_that_was_replaced_is_not_shown_as_another(written: tuple[Serve, Path]) -> None:
    """Its name is free to be that of any picture here, also of the one that it replaced."""
    serve, _ = written
    for uri in ("2.png", "3.png"):
        put = {"image": base64.b64encode(picture(77)).decode(), "uri": uri}
        assert serve.ask("PUT", "/v1/images/3", put).status == 200
        assert not _shown(serve, 3)


def test_links_lead_nowhere_else(of_folder: Path, folder: Path) -> None:
    shown, secret = folder / "shown", folder / "secret"
    with serving(of_folder, *_LIMITS) as serve:
        (shown / "0.png").unlink()
        (shown / "0.png").symlink_to(secret / "0.png")
        assert not _shown(serve, 0)
        (shown / "0.png").unlink()
        (shown / "0.png").symlink_to("../secret/0.png")
        assert not _shown(serve, 0)
        os.rename(shown / "inner", folder / "moved")
        (shown / "inner").symlink_to(folder / "moved")
        assert not _shown(serve, 6)
        (shown / "inner").unlink()
        (shown / "inner").symlink_to(shown / "inner")  # in a circle
        assert not _shown(serve, 6)
        # inside of it a link is as good as a file
        os.rename(shown / "1.png", shown / "there.png")
        (shown / "1.png").symlink_to("there.png")
        assert _shown(serve, 1)


def test_a_root_that_is_a_link_is_what_it_led_to(of_folder: Path, folder: Path) -> None:
    (folder / "link").symlink_to(folder / "shown")
    with serving(of_folder, "--root", folder / "link", *_LIMITS) as serve:
        assert _shown(serve, 0)
        (folder / "link").unlink()
        (folder / "link").symlink_to(folder / "secret")
        os.rename(folder / "shown", folder / "was")
        (folder / "shown").symlink_to(folder / "secret")  # where there is a 0.png with the same content
        wait_for(lambda: not (folder / "was" / "nothing").exists())
        _refused(serve.ask("GET", "/v1/images/0?size=99"), 404)
        assert not _shown(serve, 5)


def test_swapped_between_the_look_and_the_opening(of_folder: Path, folder: Path) -> None:
    """A file that is now the picture and now a link out of the folder, as quickly as one can."""
    place, spare, link = folder / "shown" / "0.png", folder / "spare.png", folder / "link.png"
    other = picture(0, height=96, width=32)  # what is outside is told apart by its shape
    (folder / "secret" / "0.png").write_bytes(other)
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            link.symlink_to(folder / "secret" / "0.png")
            os.replace(link, place)
            spare.write_bytes(picture(0))
            os.replace(spare, place)

    swapping = threading.Thread(target=swap)
    with serving(of_folder, *_LIMITS) as serve, closing(serve.client()) as client:
        swapping.start()
        try:
            num_shown = 0
            end = time.monotonic() + 1.5
            for size in range(8, 1000):  # another each time, since they are kept
                answer = ask(client, "GET", f"/v1/images/0?size={size}")
                if answer.status == 200:
                    num_shown += 1
                    assert _shape(answer.content) != (3, 1)
                else:
                    _refused(answer, 404)
                if time.monotonic() > end:
                    break
            assert num_shown
        finally:
            is_over.set()
            swapping.join(5)


def _shape(content: bytes) -> tuple[int, int]:
    """Height to width, as whole numbers."""
    import cv2
    import numpy as np

    height, width = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE).shape
    return (round(height / width), 1) if height > width else (1, round(width / height))


def test_what_is_no_plain_file_is_not_read(of_folder: Path, folder: Path) -> None:
    shown = folder / "shown"
    for number in range(6):
        (shown / f"{number}.png").unlink()
    os.mkfifo(shown / "0.png")
    (shown / "1.png").mkdir()
    (shown / "2.png").symlink_to("/dev/zero")
    with (shown / "3.png").open("wb") as file:
        file.truncate(1 << 40)
    (shown / "4.png").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listening, serving(of_folder, *_LIMITS) as serve:
        with suppress(OSError):  # its name may be too long
            listening.bind(str(shown / "5.png"))
        for key in range(6):
            start = time.monotonic()
            assert not _shown(serve, key)
            assert time.monotonic() - start < 2
        assert _shown(serve, 6)


def test_a_root_narrower_than_the_source(of_folder: Path, folder: Path) -> None:
    with serving(of_folder, "--root", folder / "shown" / "inner", *_LIMITS) as serve:
        assert [_shown(serve, key) for key in range(7)] == [False] * 6 + [True]
    # a folder whose name begins like that of the root is another one
    (folder / "show").mkdir()
    with serving(of_folder, "--root", folder / "show", *_LIMITS) as serve:
        assert not any(_shown(serve, key) for key in range(7))


# ----------------------------------------------------------------------------------------------------------------------
# Bodies that are not what they say

_POST = "POST /v1/embed HTTP/1.1\nHost: localhost\nContent-Type: image/png\n"


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        (f"Content-Length: {MAX_BODY + 1}", b"", (413,)),
        (f"Content-Length: {MAX_BODY + 1}", bytes(1000), (413,)),
        ("Content-Length: 9223372036854775807", b"", (413,)),
        ("Content-Length: 99999999999999999999999999", b"", (400,)),
        ("Content-Length: -1", _OWN, (400,)),
        ("Content-Length: +5", b"12345", (400,)),
        ("Content-Length: 0x10", bytes(16), (400,)),
        ("Content-Length: 5, 5", b"12345", (400,)),
        ("Content-Length: 1e3", b"12345", (400,)),
        ("Content-Length: ", b"12345", (400,)),
        ("Content-Length: 5\nContent-Length: 6", b"123456", (400,)),
        ("Content-Length: 5\nContent-Length: 5", b"12345", (400,)),
        ("Content-Length: 5\nTransfer-Encoding: chunked", b"0\r\n\r\n", (400,)),
        ("Transfer-Encoding: chunked\nContent-Length: 5", b"0\r\n\r\n", (400,)),
        ("Transfer-Encoding: xchunked", b"0\r\n\r\n", (400, 501)),
        ("Transfer-Encoding: gzip, chunked", b"0\r\n\r\n", (400, 501)),
        ("Transfer-Encoding: identity", b"0\r\n\r\n", (400, 501)),
        ("Transfer-Encoding : chunked", b"0\r\n\r\n", (400,)),
        ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", b"0\r\n\r\n", (400,)),
        ("Transfer-Encoding: chunked", b"zz\r\n", (400,)),
        ("Transfer-Encoding: chunked", b"-5\r\nhello\r\n0\r\n\r\n", (400,)),
        ("Transfer-Encoding: chunked", b"fffffffffffffffff\r\n", (400,)),
        ("Transfer-Encoding: chunked", b"5\r\nhelloworld\r\n0\r\n\r\n", (400,)),
        (f"Content-Length: {len(_OWN)}", _OWN[:-1], (408,)),
        ("Content-Length: 100", b"", (408,)),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n", (408,)),
        ("Content-Length: 0", b"", (400,)),
    ],
)  # fmt: skip
def test_a_length_that_lies(serve: Serve, headers: str, body: bytes, statuses: tuple[int, ...]) -> None:
    _refused(serve.raw(*_raw(_POST + headers), body), *statuses)


def test_more_than_was_declared_is_no_request(serve: Serve) -> None:
    """Neither taken for a part of the picture, nor answered as what it pretends to be."""
    smuggled = b"GET /v1/info HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    with serve.connect() as client:
        client.sendall(b"".join(_raw(_POST + f"Content-Length: {len(_OWN)}", _OWN, smuggled)))
        assert read_answer(client).status == 200
        _refused(read_answer(client), 403)
    with serve.connect() as client:
        client.sendall(b"".join(_raw(_POST + f"Content-Length: {len(_OWN)}", _OWN, b"junk\r\n\r\n")))
        assert read_answer(client).status == 200
        _refused(read_answer(client), 400)


def test_chunks_beyond_the_limit(serve: Serve) -> None:
    with serve.connect() as client:
        client.sendall(*_raw(_POST + "Transfer-Encoding: chunked"))
        num_sent = 0
        with suppress(ConnectionError):
            for _ in range(200):
                client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                num_sent += 0x10000
        _refused(read_answer(client), 413)
    # many small ones are as many bytes, and no more work than that
    with serve.connect() as client:
        client.sendall(*_raw(_POST + "Transfer-Encoding: chunked"))
        client.sendall(b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
        _refused(read_answer(client), 422)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip", "compress", "nonsense"])
def test_compressed_bodies(serve: Serve, encoding: str) -> None:
    bomb = gzip.compress(bytes(100 << 20), 9)
    assert len(bomb) < MAX_BODY
    told = {**_PNG, "Content-Encoding": encoding}
    for path in ("/v1/embed", "/v1/search", "/v1/images/3/matches"):
        _refused(serve.ask("POST", path, bomb, told), 415)
    before = serve.resident_bytes()
    _refused(serve.ask("POST", "/v2/models/tiny/infer", bomb, {**_JSON, "Content-Encoding": encoding}), 400, 413, 415)
    assert serve.resident_bytes() - before < 64 << 20


def test_many_bombs_at_a_time(serve: Serve) -> None:
    bomb = gzip.compress(bytes(50 << 20), 9)
    before = serve.resident_bytes()
    with ThreadPoolExecutor(16) as pool:
        told = {**_JSON, "Content-Encoding": "gzip"}
        for answer in pool.map(lambda _: serve.ask("POST", "/v2/models/tiny/infer", bomb, told), range(48)):
            _refused(answer, 413, 429)
    assert serve.resident_bytes() - before < 128 << 20


# ----------------------------------------------------------------------------------------------------------------------
# Pictures that are not what they say


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, *, pixels: bytes = b"", bits: int = 8, color: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    packed = zlib.compress(pixels, 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _tiff(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 0xFFFFFFFF)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", *each) for each in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + packed + bytes(4)


def _webp(width: int, height: int) -> bytes:
    extended = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + extended
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _avif(width: int, height: int) -> bytes:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content) + 8) + kind + content

    size = box(b"ispe", struct.pack(">III", 0, width, height))
    properties = box(b"iprp", box(b"ipco", size) + box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 1)))
    primary = box(b"pitm", struct.pack(">IH", 0, 1))
    handler = box(b"hdlr", struct.pack(">II4s12sB", 0, 0, b"pict", bytes(12), 0))
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + handler + primary + properties)


def _jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def _zip() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(1 << 20))
    return held.getvalue()


_BOMBS: dict[str, Callable[[], bytes]] = {
    "png by its header": lambda: _png(60_000, 60_000),
    "png of zeros": lambda: _png(10_000, 10_000, pixels=bytes(10_001 * 10_000)),
    "png of 2^31": lambda: _png(2**31 - 1, 2**31 - 1),
    "png of 2^32": lambda: _png(2**32 - 1, 2**32 - 1),
    "png of 16 bits": lambda: _png(1000, 999, bits=16, color=6),
    "gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(8) + b"\2\0\x3b",
    "tiff": lambda: _tiff(100_000, 100_000),
    "tiff of 2^32": lambda: _tiff(2**32 - 1, 2**32 - 1),
    "webp": lambda: _webp(1 << 24, 1 << 24),
    "avif": lambda: _avif(65_536, 65_536),
    "jpeg": lambda: _jpeg(65_535, 65_535),
    "bmp": lambda: b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHH", 40, 2**31 - 1, 2**31 - 1, 1,
    24) + bytes(24),
    "pgm": lambda: b"P5 100000 100000 255\n" + bytes(1000),
    "zip": _zip,
    "gzip": lambda: gzip.compress(picture(1)),
    "svg": lambda: b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    "pdf": lambda: b"%PDF-1.7\n",
    "a list of addresses": lambda: b"http://127.0.0.1:9/a.png\n",
}  # fmt: skip


@pytest.mark.parametrize("name", _BOMBS)
def test_pictures_that_are_none_or_too_much(serve: Serve, name: str) -> None:
    bomb = _BOMBS[name]()
    assert len(bomb) <= MAX_BODY
    before, start = serve.resident_bytes(), time.monotonic()
    for path in ("/v1/embed", "/v1/search", "/v1/images/3/matches"):
        _refused(serve.ask("POST", path, bomb, _PNG), 413, 422)
    _refused(serve.ask("PUT", "/v1/images/800", bomb, _PNG), 413, 422)
    _refused(serve.ask("GET", "/v1/images/800"), 404)
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    asked = {"inputs": [{**tensor, "data": [base64.b64encode(bomb).decode()]}]}
    _refused(serve.ask("POST", "/v2/models/tiny/infer", asked), 413, 422)
    assert serve.resident_bytes() - before < 96 << 20
    assert time.monotonic() - start < 5


def test_more_pixels_than_are_declared_take_no_room(serve: Serve) -> None:
    """Nor time: a decoder would inflate all of it."""
    before = serve.resident_bytes()
    _refused(serve.ask("POST", "/v1/embed", _png(8, 8, pixels=bytes(100_000_000)), _PNG), 422)
    assert serve.resident_bytes() - before < 32 << 20


def test_one_bomb_among_pictures_harms_no_other(serve: Serve) -> None:
    images = [base64.b64encode(each).decode() for each in (_OWN, _png(60_000, 60_000), _OWN)]
    answer = serve.ask("POST", "/v1/embed", {"images": images})
    first, none, third = answer.document["embeddings"]
    assert none is None
    assert first == third == _embedding(serve)
    assert [each["index"] for each in answer.document["errors"]] == [1]


# ----------------------------------------------------------------------------------------------------------------------
# JSON and forms


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"images":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"key":' + b"9" * 1_000_000 + b"}", b'{"key":1,"k":' + b"9" * 1_000_000 + b"}",
        b'{"key":"' + b"9" * 100_000 + b'"}', b'{"key":1,"k":"' + b"9" * 100_000 + b'"}',
        b'{"key":1,"timeout_ms":"' + b"9" * 100_000 + b'"}', b'{"key":1,"timeout_ms":1e999}',
        b'{"key":1,"shortlist":"' + b"9" * 5_000 + b'","rerank":"sift"}',
        b'{"key":-' + b"9" * 5_000 + b"}", b'{"key":1e308}', b'{"key":1.5}', b'{"key":NaN}', b'{"key":Infinity}',
        b'{"vector":[' + b"1," * 400_000 + b"1]}", b'{"vector":[' + b"9" * 400_000 + b"]}", b'{"vector":[1e999]}',
        b"{" + b",".join(b'"%d":0' % each for each in range(100_000)) + b"}",
        b'{"key":1,"' + b"x" * 1_000_000 + b'":0}', b'{"key":1,"where":"' + b"x" * 1_000_000 + b'"}',
        b'{"key":1,"rerank":"' + b"x" * 1_000_000 + b'"}', b'{"key":1,"exact":"' + b"x" * 1_000_000 + b'"}',
        b'{"key":"' + b"x" * 1_000_000 + b'"}', b'{"image":"' + b"!" * 1_000_000 + b'"}',
        b'{"key":1,"k":{"a":' + b"[" * 500 + b"]" * 500 + b"}}",
        b'{"images":[' + b'"",' * 200_000 + b'""]}', b'{"image":""}', b'{"image":null}', b'{"image":{}}',
        b'{"images":{}}',
        b"null", b"1", b'"x"', b"[]", b"{}", b"{", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"\\ud800":1}',
        b'{"a":"\\ud800"}',
        b'{"key":1}{"key":2}', b'{"key":1,"vector":[1]}', b'{"__proto__":{"admin":true},"key":1}',
        b'{"\\u0000":1,"key":1}',
    ],
    ids=lambda body: f"{len(body)} {body[:24]!r}",
)  # fmt: skip
def test_json_that_is_none_or_too_much(serve: Serve, body: bytes) -> None:
    start = time.monotonic()
    _refused(serve.ask("POST", "/v1/search", body, _JSON), 400, 413, 422)
    _refused(serve.ask("POST", "/v1/embed", body, _JSON), 400, 413, 422)
    _refused(serve.ask("PUT", "/v1/images/801", body, _JSON), 400, 413, 422)
    _refused(serve.ask("POST", "/v1/images/3/matches", body, _JSON), 400, 404, 413, 422)
    _refused(serve.ask("POST", "/v2/models/tiny/infer", body, _JSON), 400, 413, 422)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "columns",
    [
        {str(each): each for each in range(1000)}, {"key": 9}, {"embedding": [1]}, {"a": {"b": 1}}, {"a": [1]}, [], "x",
        {"\0": 1}, {"a": "\0"}, {"a" * 100_000: 1}, {"a": 1e308}, {"a": 10**30}, {"": 1}, {"sha256": "0" * 64},
    ],
    ids=lambda columns: str(columns)[:30],
)  # fmt: skip
def test_columns_of_a_client(serve: Serve, columns: object) -> None:
    """Refused, or kept as they are; in either case the gallery is as good as before."""
    image = base64.b64encode(picture(3)).decode()
    answer = serve.ask("PUT", "/v1/images/802", {"image": image, "columns": columns})
    if answer.status not in (200, 201):
        _refused(answer, 400, 413, 422)
    assert serve.ask("POST", "/v1/search", {"key": 1, "k": 3}).status == 200


_FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def _part(name: str, content: bytes, more: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


_END = b"--b--\r\n"
_FORMS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "100,000 empty parts": (b"--b\r\n\r\n\r\n" * 100_000 + _END, (400, 413)),
    "25,000 files": (_part("image", b"") * 25_000 + _END, (413,)),
    "fields without end": (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 35_000 + _END, (400, 413)),
    "a large field": (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 1_500_000 + b"\r\n" + _END,
    (400, 413)),
    "many headers": (b"--b\r\n" + b"".join(b"X-%d: y\r\n" % each for each in range(50_000)) + b"\r\nx\r\n" + _END,
    (400, 413)),
    "one header many times": (b"--b\r\n" + b"X: y\r\n" * 100_000 + b"\r\nx\r\n" + _END, (400, 413)),
    "a header without end": (b"--b\r\nX: " + b"y" * 1_500_000, (400, 413)),
    "headers without a body": (b"--b\r\n" + b"A: b\r\n" * 10, (400,)),
    "a name without end": (b"--b\r\n" + b"x" * 1_500_000, (400, 413)),
    "not ended": (_part("image", _OWN), (400,)),
    "ended early": (_part("image", _OWN)[:-1], (400,)),
    "no part": (_END, (400,)),
    "nothing like it": (b"x" * 1_000_000, (400,)),
    "another boundary": (_part("image", _OWN).replace(b"--b", b"--c") + _END, (400,)),
    "boundaries only": (b"--b\r\n" * 300_000, (400,)),
    "dashes": (b"-" * 1_500_000, (400,)),
    "nested": (
        b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n'
        b"Content-Type: multipart/mixed; boundary=c\r\n\r\n"
        + b"--c\r\n" * 1000 + b"--c--\r\n\r\n" + _END, (422,),
    ),
    "metadata that is none": (
        b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n' + b"[" * 100_000 + b"\r\n" + _END, (400,)
    ),
    "no disposition": (b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" + _END, (400,)),
    "a bomb": (_part("image", _png(60_000, 60_000)) + _END, (413, 422)),
    "a name that climbs": (_part("../../etc/passwd", b"") + _END, (422,)),
}  # fmt: skip


@pytest.mark.parametrize("name", _FORMS)
def test_forms_that_are_none_or_too_much(serve: Serve, name: str) -> None:
    body, statuses = _FORMS[name]
    assert len(body) <= MAX_BODY
    start = time.monotonic()
    _refused(serve.ask("POST", "/v1/embed", body, _FORM), *statuses)
    _refused(serve.ask("POST", "/v1/search", body, _FORM), *statuses, 400)
    assert time.monotonic() - start < 2.5


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 5000,
        'multipart/form-data; boundary="', "multipart/form-data; boundary=\xff", "multipart/form-data" + "; a=b" * 5000,
        "multipart/form-data; boundary=b; boundary=c", "application/json; charset=" + "x" * 10_000, "text/html", "*/*",
        "image/png\x0b", "application/xml", "multipart/mixed; boundary=b", ";", '"', "image",
        "application/json, image/png",
        "multipart/form-data; boundary*=utf-8''b",
    ],
    ids=lambda kind: kind[:50],
)  # fmt: skip
def test_kinds_of_content_that_are_none(serve: Serve, kind: str) -> None:
    head = f"POST /v1/embed HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: 2"
    _refused(serve.raw(*_raw(head, b"{}")), 400, 415, 422)


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AA",
        "AAA",
        "AAAAA",
        "AA=",
        "A===",
        "====",
        "AA==AA==",
        "AAAA=",
        "A A A A",
        "AAAA\n",
        "AA-_",
        "\0",
        "é",
        "{}",
    ],
)
def test_base64_that_is_none(serve: Serve, text: str) -> None:
    _refused(serve.ask("POST", "/v1/embed", {"images": [text]}), 400, 422)
    _refused(serve.ask("POST", "/v1/embed", {"images": ["data:image/png;base64," + text]}), 400, 422)


# ----------------------------------------------------------------------------------------------------------------------
# Addresses in fields, and conditions


@pytest.fixture
def listener() -> Iterator[tuple[str, list[object]]]:
    """Somebody who would notice being asked."""
    heard: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        is_over = threading.Event()

        def listen() -> None:
            while not is_over.is_set():
                with suppress(TimeoutError):
                    connection, where = server.accept()
                    heard.append(where)
                    connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        is_over.set()
        thread.join(5)


def test_no_address_is_asked(serve: Serve, listener: tuple[str, list[object]], gallery: Path) -> None:
    where, heard = listener
    addresses = [f"http://{where}/x.png", f"HTTP://{where}/x", f"//{where}/x", f"ftp://{where}/x",
    f"data:,http://{where}",
                 f"gopher://{where}/", f"s3://{where}/x", f"\\\\{where}\\x",
                 f"data:text/html,http://{where}/"]  # fmt: skip
    addresses.append(f"file://{gallery.parent}/pictures/cats/00.png")
    for address in addresses:
        _refused(serve.ask("POST", "/v1/embed", {"images": [address]}), 400)
        _refused(serve.ask("POST", "/v1/search", {"image": address}), 400)
        _refused(serve.ask("PUT", "/v1/images/803", {"image": address}), 400)
        _refused(serve.ask("POST", "/v1/embed", address.encode(), _PNG), 422)
        for condition in (f"uri IN (SELECT * FROM read_csv('{address}'))", f"uri = (FROM '{address}')"):
            _refused(serve.ask("POST", "/v1/search", {"key": 1, "where": condition}), 422)
        put = {"image": base64.b64encode(picture(3)).decode(), "uri": address}
        assert serve.ask("PUT", "/v1/images/804", put).status in (200, 201)
        _refused(serve.ask("GET", "/v1/images/804"), 404)
    time.sleep(0.2)
    assert not heard


_INJECTIONS = [
    "1=1) OR (1=1; DROP TABLE stream", "true; DROP TABLE stream", "true); COPY stream TO '/tmp/x' --",
    "label = '' OR (SELECT true)", "EXISTS (SELECT 1)", "true UNION SELECT true", "true) FROM (SELECT 1",
    "uri IN (SELECT content FROM read_text('/etc/passwd'))", "uri = read_text('/etc/passwd')",
    "uri IN (SELECT * FROM read_csv('/etc/passwd'))", "uri IN (SELECT * FROM glob('/*'))",
    "uri IN (SELECT * FROM read_parquet('/etc/passwd'))", "uri IN (FROM read_blob('/etc/passwd'))",
    "getenv('SEMBLANCE_SERVE_TOKEN') = 'x'", "current_setting('home_directory') = ''", "version() = ''",
    "uri = current_user", "uri = (SELECT path FROM pragma_database_list())", "COPY stream TO '/tmp/x'",
    "ATTACH '/tmp/x.db'", "INSTALL httpfs", "LOAD httpfs", "SET threads = 64", "PRAGMA database_list",
    "CALL pragma_version()",
    "EXPORT DATABASE '/tmp/x'", "IMPORT DATABASE '/tmp/x'", "query('SELECT 1')", "query_table('stream')",
    "unnest([1]) = 1",
    "true /*", "true\n)\n;--", "(true", "true)", "'", '"', "\0", "true\0; DROP", "$1", "?", "*", "COLUMNS(*) = 1",
    "system('id')", "sleep(10)", "pg_sleep(10)", "random() > 0", "uri = repeat('x', 1000000000)",
    "range(1000000000) = []",
    "list_aggregate(range(1000000000), 'sum') > 0", "uri LIKE '%' || repeat('a', 100000000)",
    "printf('%999999999d', 1) = ''",
    "lpad('', 1000000000, 'x') = uri", "[x for x in range(1000000)] = []", "getvariable('x') = 1", "nextval('s') = 1",
    "uri IN (SELECT duckdb_secrets())", "TRY_CAST(uri AS INTEGER) = (SELECT 1)",
]  # fmt: skip


@pytest.mark.parametrize("where", _INJECTIONS)
def test_conditions_that_would_do_something(serve: Serve, where: str) -> None:
    start = time.monotonic()
    _refused(serve.ask("POST", "/v1/search", {"key": 1, "where": where}), 400, 422)
    _refused(serve.ask("POST", f"/v1/search?where={quote(where)}", _OWN, _PNG), 400, 422)
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    "where",
    [
        "(" * 2000 + "true" + ")" * 2000, "NOT " * 1000 + "true", "true" + " AND true" * 450, "-" * 4000 + "1 = 1",
        "1" + "+1" * 2000 + " > 0", "hash(" * 200 + "uri" + ")" * 200 + " > 0",
        "CASE WHEN true THEN " * 160 + "true" + " END" * 160,
        "regexp_matches(uri, '" + "(a*)*" * 500 + "$')", "regexp_matches(uri, '(((a{1,100}){1,100}){1,100})')",
        "uri IN (" + ",".join(["'x'"] * 900) + ")", "uri LIKE '" + "%_" * 1900 + "'", "1e308 * 1e308 > 0",
        "10::TINYINT ^ 1000 > 0",
        "uri SIMILAR TO '(x+x+)+y'", "CAST(uri AS INTEGER) > 0", "1/0 > 0", "2 ** 99999 > 0",
    ],
    ids=lambda where: where[:30],
)  # fmt: skip
def test_conditions_that_would_take_long(serve: Serve, where: str) -> None:
    assert len(where) <= 4096
    start = time.monotonic()
    answer = serve.ask("POST", "/v1/search", {"key": 1, "where": where, "timeout_ms": 3000})
    if answer.status != 200:
        _refused(answer, 422, 504)
    assert time.monotonic() - start < 4


# ----------------------------------------------------------------------------------------------------------------------
# Who may ask


def _authorized(value: str) -> dict[str, str]:
    return {"Authorization": value}


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        f"Bearer{TOKEN}", TOKEN, f"Token {TOKEN}", f'Bearer "{TOKEN}"', f"Bearer {TOKEN}, Bearer {TOKEN}",
        "Bearer null",
        f"Basic {base64.b64encode(f':{TOKEN}'.encode()).decode()}", f"Bearer\t{TOKEN}", f"Bearer {TOKEN}\x00",
        "Bearer \xe9",
        f"Bearer x {TOKEN}",
    ],
)  # fmt: skip
def test_a_token_that_is_not_the_one(guarded: Serve, value: str) -> None:
    head = f"GET /v1/info HTTP/1.1\nHost: localhost\nAuthorization: {value}"
    answer = guarded.raw(*_raw(head))
    _refused(answer, *((400,) if "\0" in value else (401,)))
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "values", [(f"Bearer {TOKEN}", "Bearer x"), ("Bearer x", f"Bearer {TOKEN}"), (f"Bearer {TOKEN}",) * 2]
)
def test_two_tokens_are_none(guarded: Serve, values: tuple[str, str]) -> None:
    """A proxy in front may have looked at the other one."""
    told = "\n".join(f"Authorization: {value}" for value in values)
    _refused(guarded.raw(*_raw(f"GET /v1/info HTTP/1.1\nHost: localhost\n{told}")), 400, 401)


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "authorization", "bearer"])
def test_no_token_is_taken_from_an_address_or_a_cookie(guarded: Serve, name: str) -> None:
    _refused(guarded.ask("GET", f"/v1/info?{name}={TOKEN}"), 401)
    _refused(guarded.ask("GET", f"/v1/info?{name}=Bearer%20{TOKEN}"), 401)
    _refused(guarded.ask("GET", "/v1/info", headers={"Cookie": f"{name}={TOKEN}", "X-Api-Key": TOKEN}), 401)
    for told in ("X-Forwarded-Authorization", "Proxy-Authorization", "X-Original-URL", "X-Forwarded-For", "X-Real-IP"):
        _refused(guarded.ask("GET", "/v1/info", headers={told: f"Bearer {TOKEN}"}), 401)


def test_it_is_compared_in_constant_time() -> None:
    tree = ast.parse(inspect.getsource(guard))
    assert any(isinstance(each, ast.Attribute) and each.attr == "compare_digest" for each in ast.walk(tree))
    check = next(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == "_check_token")
    compared = [each for each in ast.walk(check) if isinstance(each, ast.Compare)]
    assert all("_expected" not in ast.unparse(each) or "is None" in ast.unparse(each) for each in compared)


_OPEN = (
    "/", "/page/page.js", "/page/style.css", "/page/index.html", "/healthz", "/readyz", "/v2/health/live",
    "/v2/health/ready",
)  # fmt: skip


def test_what_is_open_is_exactly_this(guarded: Serve) -> None:
    paths = list(guarded.ask("GET", "/openapi.json", headers=_authorized(f"Bearer {TOKEN}")).document["paths"])
    paths += [
        "/",
        "/page/page.js",
        "/page/style.css",
        "/page/index.html",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/x",
    ]
    is_open = set()
    for path in paths:
        to = path.replace("{key}", "3").replace("{model}", "tiny").replace("{version}", "1")
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "BREW"):
            answer = guarded.raw(
                *_raw(f"{method} {to} HTTP/1.1\nHost: localhost\nContent-Length: 0\nConnection: close")
            )
            if method in ("GET", "HEAD") and answer.status == 200:
                is_open.add((method, path))
            elif answer.status not in (401, 400):
                assert answer.status == 405, (method, to, answer)
    assert is_open == {(method, path) for method in ("GET", "HEAD") for path in _OPEN}


@pytest.mark.parametrize(
    "path",
    [
        "/page/../v1/info", "/page/%2e%2e/v1/info", "/page/..%2fv1%2finfo", "/healthz/../v1/info", "//v1/info",
        "/v1/info/",
        "/V1/INFO", "/./v1/info", "/%76%31/info", "/v1//info", "/v1/info%00", "/v1/info;/page/", "/v1/info?/page/",
        "/healthz/",
        "/page/../../v1/info", "/healthz%2f..%2fv1/info", "/v1/info#/page/", "http://localhost/v1/info",
        "/page//v1/info",
    ],
)  # fmt: skip
def test_no_way_around_the_token(guarded: Serve, path: str) -> None:
    answer = guarded.raw(*_raw(f"GET {path} HTTP/1.1\nHost: localhost"))
    _refused(answer, 400, 401, 404)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io",
        "localhost@evil",
        "evil.example#localhost", "localhost:80:evil", "", "[", "[::1", "0", "0.0.0.0", "2130706433", "0x7f.1",
        "localhost.",
        "127.0.0.1:evil", "localhost/evil", "localhost evil", "\xe9",
    ],
)  # fmt: skip
def test_a_name_that_is_not_ours(serve: Serve, host: str) -> None:
    """As a page would use that has its own name point here (DNS rebinding)."""
    _refused(serve.raw(*_raw(f"GET /v1/info HTTP/1.1\nHost: {host}")), 400, 403)
    own = f"localhost:{serve.port}"
    assert serve.raw(*_raw(f"GET /v1/info HTTP/1.1\nHost: {own}")).status == 200
    told = f"X-Forwarded-Host: {own}\nForwarded: host={own}"
    _refused(serve.raw(*_raw(f"GET /v1/info HTTP/1.1\nHost: {host}\n{told}")), 400, 403)
    _refused(serve.raw(*_raw(f"GET http://{host}/v1/info HTTP/1.1\nHost: {own}")), 400, 403)
    _refused(serve.raw(*_raw(f"GET /v1/info HTTP/1.1\nHost: {own}\nHost: {host}")), 400)


@pytest.mark.parametrize(
    "host", ["[", "[::1", "", "a:b:c", "x" * 4000, "\xe9", "%00", "a/b", "a?b", "localhost:99999999"]
)
def test_a_strange_name_breaks_nothing_where_any_is_answered(guarded: Serve, host: str) -> None:
    for path in ("/nope", "/v1/info", "/healthz", "//x"):
        told = f"Authorization: Bearer {TOKEN}"
        answer = guarded.raw(*_raw(f"POST {path} HTTP/1.1\nHost: {host}\n{told}\nContent-Length: 0"))
        _refused(answer, 400, 404, 405)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost", "http://127.0.0.1:1", "file://", ""]
)
def test_forms_of_other_pages(serve: Serve, origin: str) -> None:
    """A browser sends them without asking first; and it tells where they come from."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        told = {"Origin": origin, "Content-Type": kind}
        for method, path in (
            ("POST", "/v1/embed"),
            ("POST", "/v1/search"),
            ("PUT", "/v1/images/3"),
            ("DELETE", "/v1/images/3"),
        ):
            answer = serve.ask(method, path, _OWN, told)
            _refused(answer, 403)
            assert not [name for name in answer.headers if name.startswith("access-control")]
    own = f"http://localhost:{serve.port}"
    told = {"Origin": own, "Host": f"localhost:{serve.port}", **_PNG}
    assert serve.ask("POST", "/v1/embed", _OWN, told).status == 200


def test_no_other_page_is_let_in_unless_it_was_asked_for(serve: Serve, guarded: Serve) -> None:
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in ("https://page.example", "https://evil.example"):
        answer = serve.ask("OPTIONS", "/v1/embed", headers={"Origin": origin, **wish})
        _refused(answer, 403)
        assert "access-control-allow-origin" not in answer.headers
    allowed = guarded.ask("OPTIONS", "/v1/embed", headers={"Origin": "https://page.example", **wish})
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-credentials" not in allowed.headers
    for origin in ("https://evil.example", "https://page.example.evil.example", "http://page.example", "null"):
        answer = guarded.ask("OPTIONS", "/v1/embed", headers={"Origin": origin, **wish})
        _refused(answer, 403)
        assert "access-control-allow-origin" not in answer.headers
        _refused(guarded.ask("GET", "/v1/info", headers={"Origin": origin, **_authorized(f"Bearer {TOKEN}")}), 403)
    told = {"Origin": "https://page.example", **_authorized(f"Bearer {TOKEN}")}
    answer = guarded.ask("POST", "/v1/embed", _OWN, {**told, **_PNG})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "origin" in answer.headers["vary"].lower()
    # what is wrong can be read there too, or the page could not say it
    for refused in (
        guarded.ask("POST", "/v1/embed", b"no picture", {**told, **_PNG}),
        guarded.ask("POST", "/v1/embed", _OWN, {"Origin": "https://page.example", **_PNG}),
    ):
        _refused(refused, 401, 422)
        assert refused.headers["access-control-allow-origin"] == "https://page.example"
    # a wish is not a way around the token
    _refused(guarded.ask("OPTIONS", "/v1/embed", headers={"Origin": "https://page.example"}), 401)


# ----------------------------------------------------------------------------------------------------------------------
# What is written into logs and headers


def test_nobody_writes_lines_of_their_own_into_the_log(serve: Serve) -> None:
    start = len(serve.lines)
    forged = '{"time": "now", "level": "error", "message": "forged"}'
    for path in (
        f"/%0a{quote(forged)}",
        f"/%0d%0a{quote(forged)}",
        "/%1b[2J%1b[31m",
        "/%e2%80%a8forged",
        "/%00",
        "/%85forged",
    ):
        for told in ({}, {"X-Request-Id": "a b"}, {"X-Request-Id": "x" * 65}, {"User-Agent": forged}):
            _refused(serve.ask("GET", path, headers=told), 404)
    wait_for(lambda: sum('"path"' in line for line in serve.lines[start:]) >= 24)
    for line in serve.lines[start:]:
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["logger"]
    assert not [line for line in serve.lines if line.startswith('{"time": "now"')]


def test_nor_where_it_is_text(gallery: Path, tmp_path: Path) -> None:
    with serving(copy_of(gallery, tmp_path), "--threads", 1, "--log-format", "text") as serve:
        serve.ask(
            "GET", "/%0a2026-01-01T00:00:00.000Z ERROR forged: forged%0d%1b[2J%c2%9b%e2%80%a8".replace(" ", "%20")
        )
        wait_for(lambda: "forged" in serve.log)
        for line in list(serve.lines):
            assert line.isprintable()
            assert re.match(r"\d{4}-\d\d-\d\dT\S+Z (INFO|WARNING) +semblance", line)


@pytest.mark.parametrize(
    "text", ["a\r\nX-Injected: 1", "\r\n\r\n<html>", "\nSet-Cookie: a=b", "\0", "é\u2028\u202e", "x" * 2000]
)
def test_nobody_writes_headers_of_their_own_into_answers(serve: Serve, text: str) -> None:
    put = {"image": base64.b64encode(picture(3)).decode(), "uri": text, "label": text}
    answers = [serve.ask("PUT", "/v1/images/805", put)]
    with_query = f"/v1/images/806?uri={quote(text)}&label={quote(text)}"
    answers.append(serve.ask("PUT", with_query, picture(3), _PNG))
    answers += [
        serve.ask("GET", "/v1/images/805", headers={"Accept": "application/json"}),
        serve.ask("GET", "/v1/images/805"),
    ]
    answers.append(serve.ask("POST", "/v1/search", {"key": 805, "k": 1}))
    for answer in answers:
        assert answer.status in (200, 201, 404), answer
        assert not {"x-injected", "set-cookie"} & set(answer.headers)
        assert "text/html" not in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "given", ["a b", "a\tb", "x" * 65, "é", "<script>", 'a"b', "a,b", "a;b", "../x", "a%0d%0ab", "\x7f"]
)
def test_an_id_that_is_not_taken(serve: Serve, given: str) -> None:
    answer = serve.raw(*_raw(f"GET /nope HTTP/1.1\nHost: localhost\nX-Request-Id: {given}"))
    if answer.status != 400:
        assert answer.headers["x-request-id"] != given
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    kept = serve.raw(*_raw("GET /nope HTTP/1.1\nHost: localhost\nX-Request-Id: my-id_1.2:3"))
    assert kept.headers["x-request-id"] == "my-id_1.2:3"


@pytest.mark.parametrize(
    "query",
    [
        "k=" + "9" * 5000, "k=1e9", "k=-1", "k=0x10", "k=1&k=2", "timeout_ms=nan", "timeout_ms=inf", "timeout_ms=-1",
        "timeout_ms=1e-400",
        "timeout_ms=" + "9" * 5000, "timeout_ms=%00", "size=" + "9" * 5000, "size=1e3", "where=%ff%fe", "exact=maybe",
        "rerank=x",
        "shortlist=0", "k=%ef%bc%91", "&" * 4000, "=", "%", "%zz=%zz", "k[]=1", "k=" + "1" * 4000, "a=" * 2000,
    ],
    ids=lambda query: query[:24],
)  # fmt: skip
def test_parameters_that_are_none(serve: Serve, query: str) -> None:
    for method, path in (
        ("POST", "/v1/search"),
        ("POST", "/v1/embed"),
        ("GET", "/v1/images/3"),
        ("PUT", "/v1/images/807"),
    ):
        answer = serve.ask(method, f"{path}?{query}", _OWN if method != "GET" else b"", _PNG)
        if answer.status not in (200, 201):
            _refused(answer, 400, 404, 422)
    for key in ("9" * 5000, "-" + "9" * 30, "1.5", "0x1", "1e3", "%20", "nan", "true", "1/../2"):
        _refused(serve.ask("GET", f"/v1/images/{key}"), 400, 404)


# ----------------------------------------------------------------------------------------------------------------------
# Memory


@pytest.mark.parametrize("is_chunked", [False, True])
def test_half_sent_bodies_take_no_more_than_was_set(serve: Serve, is_chunked: bool) -> None:
    """Fifty clients that each declare the largest body, send half of it and wait."""
    before = serve.resident_bytes()
    with ExitStack() as stack:
        clients = [stack.enter_context(serve.connect()) for _ in range(50)]
        told = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {MAX_BODY}"
        half = bytes(MAX_BODY // 2)
        piece = b"%x\r\n" % len(half) + half + b"\r\n" if is_chunked else half
        with ThreadPoolExecutor(50) as pool:

            def send(client: socket.socket) -> int:
                with suppress(ConnectionError):
                    client.sendall(*_raw(_POST + told))
                    client.sendall(piece)
                answer = read_answer(client)
                _refused(answer, 408, 429)
                assert answer.status == 408 or answer.headers["retry-after"] == "1"
                return answer.status

            sending = [pool.submit(send, client) for client in clients]
            most = 0
            while not all(each.done() for each in sending):
                most = max(most, serve.resident_bytes() - before)
                time.sleep(0.01)
            statuses = [each.result() for each in sending]
    assert most < MAX_PENDING + (24 << 20)
    if not is_chunked:
        assert MAX_PENDING // MAX_BODY <= statuses.count(408) <= MAX_PENDING // (MAX_BODY // 2)
    assert statuses.count(429) > 25


def test_many_connections_that_say_nothing(serve: Serve) -> None:
    """They are told so when their time is over, and meanwhile others are answered."""
    before = serve.resident_bytes()
    with ExitStack() as stack:
        clients = [stack.enter_context(serve.connect()) for _ in range(300)]
        for client in clients[:100]:
            client.sendall(b"POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert serve.ask("POST", "/v1/embed", _OWN, _PNG).status == 200
        assert serve.resident_bytes() - before < 32 << 20
        for client in clients[::50]:
            _refused(read_answer(client), 408)


def test_clients_that_leave_in_the_middle(serve: Serve) -> None:
    for number in range(60):
        with serve.connect() as client:
            client.sendall(*_raw(_POST + f"Content-Length: {len(_OWN)}"))
            client.sendall(_OWN[: number * len(_OWN) // 60])
            if number % 2:  # without a word
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
