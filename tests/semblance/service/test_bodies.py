"""Bodies: three forms of pictures, what is none of them, and limits that hold before the work."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from semblance.errors import Overloaded
from semblance.service import bodies
from semblance.service.bodies import Body, ClientGone, read_body, read_bytes
from semblance.service.budget import ByteBudget
from semblance.service.problems import Problem
from semblance.service.settings import Settings
from tests.semblance.service.drawn import b64

GONE = {"type": "http.disconnect"}
BOUNDARY = "b0undary"


def asked(parts: Sequence[bytes | None], **headers: str) -> Request:
    """A request whose body comes in parts; None: the client leaves."""
    messages = [
        GONE if part is None else {"type": "http.request", "body": part, "more_body": at + 1 < len(parts)}
        for at, part in enumerate(parts)
    ]

    async def receive() -> Any:
        return messages.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope, receive)


def read(
    content: bytes | Sequence[bytes | None], kind: str | None = None, *, most: int = 10_000, pictures: int = 10,
    budget: ByteBudget | None = None, **headers: str,
) -> Body:  # fmt: skip
    budget = budget or ByteBudget(1 << 30)
    parts = [content] if isinstance(content, bytes) else content
    if kind is not None:
        headers["content_type"] = kind

    async def main() -> Body:
        with budget.share() as share:
            return await read_body(asked(parts, **headers), share, max_bytes=most, max_pictures=pictures)

    try:
        return asyncio.run(main())
    finally:
        assert budget.taken == 0


def refused(*args: Any, **options: Any) -> Problem:
    with pytest.raises(Problem) as told:
        read(*args, **options)
    return told.value


def as_form(*parts: tuple[str, bytes]) -> bytes:
    """Parts of a form: their headers, each line of which ends with a newline, and their content."""
    lines = [b"--" + BOUNDARY.encode() + b"\r\n" + _crlf(head) + b"\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(lines) + b"--" + BOUNDARY.encode() + b"--\r\n"


def _crlf(head: str) -> bytes:
    return "".join(f"{line}\r\n" for line in head.splitlines()).encode()


def file(name: str, filename: str = "a.png") -> str:
    return f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\nContent-Type: image/png\n'


def text(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\n'


FORM = f"multipart/form-data; boundary={BOUNDARY}"


# ----------------------------------------------------------------------------------------------------------------------
# A picture as it is


@pytest.mark.parametrize(
    "kind",
    [
        None, "", "image/png", "IMAGE/PNG", "image/whatever; q=1", "application/octet-stream",
        "Application/Octet-Stream",
        "application/x-www-form-urlencoded",
    ],
)  # fmt: skip
def test_a_picture_as_it_is(kind: str | None) -> None:
    body = read(b"picture", kind)
    assert (body.pictures, body.members) == ([b"picture"], {})


def test_it_may_come_in_pieces() -> None:
    assert read([b"pic", b"", b"ture"]).pictures == [b"picture"]
    assert read([b"pic", b"ture", b""]).pictures == [b"picture"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/mixed; boundary=x", "video/mp4", "nonsense"]
)
def test_other_kinds_are_not_taken(kind: str) -> None:
    problem = refused(b"x", kind)
    assert (problem.status, problem.name) == (415, "unsupported-media-type")
    assert "image/jpeg" in problem.detail


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"])
def test_no_encoding_is_undone(encoding: str) -> None:
    assert refused(b"x", content_encoding=encoding).status == 415
    assert read(b"x", content_encoding=" Identity ").pictures == [b"x"]


@pytest.mark.parametrize("kind", ["image/png", "application/json", FORM])
def test_an_empty_body(kind: str) -> None:
    assert (refused(b"", kind).status, refused(b"", kind).name) == (400, "empty-body")


# ----------------------------------------------------------------------------------------------------------------------
# How much


def test_too_large_is_refused_by_what_is_declared_and_nothing_is_read() -> None:
    problem = refused([], content_length="11", most=10)  # to receive anything would fail
    assert (problem.status, problem.name) == (413, "body-too-large")


def test_too_large_is_refused_by_what_comes() -> None:
    assert refused([b"12345", b"678901"], most=10).status == 413
    assert refused([b"12345", b"678901", b"x"], most=10, content_length="3").status == 413
    assert read([b"12345", b"67890"], most=10).pictures == [b"1234567890"]


@pytest.mark.parametrize("length", ["-5", "x", "", "1.5", "+3"])
def test_a_length_that_is_none_is_not_believed(length: str) -> None:
    assert read(b"abc", content_length=length).pictures == [b"abc"]


def test_the_budget_is_taken_before_the_body_is_read() -> None:
    budget = ByteBudget(10)
    with budget.share() as other:
        other.grow_to(8)

        async def main() -> None:
            with budget.share() as share:
                await read_bytes(asked([], content_length="3"), share, 10)

        with pytest.raises(Overloaded):
            asyncio.run(main())
        assert budget.taken == 8


def test_what_is_declared_and_not_sent_takes_nothing_of_the_budget() -> None:
    budget = ByteBudget(10)

    async def main() -> None:
        sent = asyncio.Event()

        async def receive() -> dict[str, object]:
            if not sent.is_set():
                sent.set()
                return {"type": "http.request", "body": b"12", "more_body": True}
            return await asyncio.Future()  # no more comes

        request = asked([], content_length="9")
        request._receive = receive  # type: ignore[assignment]
        with budget.share() as share:
            reading = asyncio.ensure_future(read_bytes(request, share, 10))
            await sent.wait()
            await asyncio.sleep(0)
            assert budget.taken == 2
            with budget.share() as other:
                other.check(8)  # which there is room for
            reading.cancel()

    asyncio.run(main())
    assert budget.taken == 0


def test_the_budget_grows_with_a_body_of_unknown_length() -> None:
    budget = ByteBudget(10)

    async def main() -> None:
        with budget.share() as share:
            assert await read_bytes(asked([b"1234", b"5678"]), share, 100) == b"12345678"
            assert budget.taken == 8
            with budget.share() as other, pytest.raises(Overloaded):
                await read_bytes(asked([b"12", b"3"]), other, 100)
            assert budget.taken == 8

    asyncio.run(main())
    assert budget.taken == 0


@pytest.mark.parametrize("parts", [[None], [b"abc", None]])
def test_a_client_that_leaves_gives_everything_back(parts: list[bytes | None]) -> None:
    budget = ByteBudget(100)
    with pytest.raises(ClientGone):
        read(parts, content_length="50", budget=budget)


# ----------------------------------------------------------------------------------------------------------------------
# JSON


def read_json(document: Any, **options: Any) -> Body:
    return read(json.dumps(document).encode(), "application/json", **options)


def refused_json(document: Any, **options: Any) -> Problem:
    return refused(
        document if isinstance(document, bytes) else json.dumps(document).encode(), "application/json", **options
    )


def test_pictures_in_json() -> None:
    body = read_json({"images": [b64(b"one"), b64(b"two")], "k": 3})
    assert (body.pictures, body.members) == ([b"one", b"two"], {"k": 3})
    assert read_json({"image": b64(b"one")}).pictures == [b"one"]
    assert read_json({"image": f"data:image/png;base64,{b64(b'one')}"}).pictures == [b"one"]
    assert read_json({"vector": [1, 2]}).members == {"vector": [1, 2]}
    assert read(json.dumps({}).encode(), "application/json; charset=utf-8").members == {}


def test_what_is_large_is_read_just_the_same() -> None:
    content = bytes(range(256)) * 8192  # 2 MiB, which are taken apart beside the event loop
    assert read_json({"images": [b64(content)]}, most=1 << 23).pictures == [content]
    assert read(as_form((file("a"), content)), FORM, most=1 << 23).pictures == [content]


def test_of_two_members_of_one_name_the_last_counts() -> None:
    assert read(b'{"k": 1, "k": 2}', "application/json").members == {"k": 2}


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[]", b"null", b"7", b'"text"', b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe{}", b'{"a": "\xff"}',
        b'{"a": 1} {"b": 2}', b"[" * 5000, b'{"a":' * 1500, b'{"a": "\\ud800"}', b"{'a': 1}", b"\x00",
    ],
)  # fmt: skip
def test_what_is_no_json_object(content: bytes) -> None:
    problem = refused_json(content)
    assert (problem.status, problem.name) == (400, "malformed-json")


@pytest.mark.parametrize("images", [[], "x", {}, None, 5])
def test_images_are_a_list(images: Any) -> None:
    assert refused_json({"images": images}).status == 400


@pytest.mark.parametrize(
    "image", [5, None, [], {}, "not base64!", "YWJj\n", "YWJ", "YWJjZ", "ä", "YWJj YWJj", "data:image/png,abc", "-_-_"]
)
def test_what_is_no_base64(image: Any) -> None:
    problem = refused_json({"image": image})
    assert (problem.status, problem.name) == (400, "malformed-base64")


@pytest.mark.parametrize("address", ["http://127.0.0.1/x", "https://x", "file:///etc/passwd", "ftp://x/y"])
def test_no_address_is_fetched(address: str) -> None:
    assert "none is ever fetched" in refused_json({"images": [b64(b"x"), address]}).detail


def test_the_number_of_the_picture_is_told() -> None:
    assert refused_json({"images": [b64(b"x"), "!"]}).detail.startswith("picture 1 ")


def test_too_many_pictures_are_refused_before_any_is_decoded() -> None:
    problem = refused_json({"images": ["!"] * 3}, pictures=2)
    assert (problem.status, problem.name) == (413, "too-many-pictures")
    assert refused_json({"images": ["!", "!"], "image": "!"}, pictures=2).status == 413


@pytest.mark.parametrize("unit", [b"{},", b"[],", b"1,", b'{"a":{}},'], ids=str)
def test_json_of_many_values_is_refused_before_it_is_laid_out(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    most = Settings(model="siamese").max_body_bytes
    content = b'{"a":[' + unit * ((most - 10) // len(unit)) + b"0]}"
    monkeypatch.setattr(bodies.orjson, "loads", lambda text: pytest.fail("it was laid out"))
    problem = refused_json(content, most=most)
    assert (problem.status, problem.name) == (413, "json-too-complex")


def test_long_vectors_and_pictures_with_commas_beside_them_are_read() -> None:
    vector = [0.125] * 90_000
    assert read_json({"vector": vector}, most=1 << 20).members == {"vector": vector}
    assert read_json({"images": [b64(bytes(600))] * 256}, most=1 << 20, pictures=256).pictures == [bytes(600)] * 256


# ----------------------------------------------------------------------------------------------------------------------
# A form


def test_files_and_fields() -> None:
    content = as_form(
        (file("images"), b"one"),
        (text("k"), b"5"),
        ('content-disposition: form-data; name="x"\nCONTENT-TYPE: image/png\n', b"two"),  # a picture without a name
        (file("images", "ä \\\" b.png"), b"\r\n--b0undar\r\n"),
        (text("where"), "label = 'grün'".encode()),
        (file("empty", ""), b""),
    )  # fmt: skip
    body = read(content, FORM)
    assert body.pictures == [b"one", b"two", b"\r\n--b0undar\r\n", b""]
    assert body.members == {"k": "5", "where": "label = 'grün'"}
    assert read(content, 'multipart/form-data; charset=utf-8; boundary="b0undary"').pictures == body.pictures
    assert read([content[:3], content[3:50], content[50:]], FORM).pictures == body.pictures


def test_a_form_without_parts() -> None:
    body = read(b"--b0undary--\r\n", FORM)
    assert (body.pictures, body.members) == ([], {})


def test_a_field_that_is_no_utf8_is_read_with_marks() -> None:
    assert read(as_form((text("label"), b"a\xffb")), FORM).members == {"label": "a\ufffdb"}


def test_metadata_is_json() -> None:
    content = as_form((file("image"), b"one"), (text("metadata"), b'{"columns": {"n": 1}, "k": 2}'), (text("k"), b"1"))
    assert read(content, FORM).members == {"columns": {"n": 1}, "k": 2}
    assert refused(as_form((text("metadata"), b"[1]")), FORM).status == 400


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense", b"--b0undary", b"--b0undary\r\n", as_form((file("a"), b"x"))[:-12],
        as_form(("Content-Type: image/png\n", b"x")), as_form(("Content-Disposition: attachment; name=a\n", b"x")),
        as_form(("Content-Disposition: form-data\n", b"x")), as_form(("Bad Header: x\n", b"x")),
        as_form((text("a") + "".join(f"X-{n}: 1\n" for n in range(20)), b"x")), as_form(("", b"x")),
        as_form(("no colon\n", b"x")), b"\x00" * 100,
    ],
)  # fmt: skip
def test_what_is_no_form(content: bytes) -> None:
    problem = refused(content, FORM)
    assert (problem.status, problem.name) == (400, "malformed-form")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""']
)
def test_a_form_without_a_boundary(kind: str) -> None:
    assert "no boundary" in refused(b"x", kind).detail


def test_no_more_fields_than_are_needed() -> None:
    assert refused(as_form(*[(text("a"), b"x" * 600_000)] * 2), FORM, most=1 << 22).status == 400


def test_names_of_fields_count_among_their_bytes() -> None:
    content = as_form(*[(text("n" * 4000), b"x" * 20_000)] * 50)
    assert refused(content, FORM, most=1 << 22).status == 400


def test_no_more_parts_than_are_needed() -> None:
    assert read(as_form(*[(text("a"), b"")] * 64), FORM, pictures=0).members == {"a": ""}
    problem = refused(as_form(*[(text("a"), b"")] * 67), FORM, pictures=2)
    assert (problem.status, problem.name) == (413, "too-many-parts")


def test_a_form_of_many_parts_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[object]()
    monkeypatch.setattr(bodies._Parts, "_end", lambda parts: ended.append(parts))
    refused(as_form(*[(text("a"), b"")] * 50_000), FORM, most=1 << 23, pictures=2)
    assert len(ended) == 66


def test_a_form_of_some_length_is_taken_apart_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = list[bool]()
    here = threading.current_thread()
    monkeypatch.setattr(bodies._Parts, "_finish", lambda parts: threads.append(threading.current_thread() is here))
    for num_bytes in (1000, 70_000):
        refused(as_form((file("a"), bytes(num_bytes))), FORM, most=1 << 20)
    assert threads == [True, False]


def test_no_more_files_than_may_be() -> None:
    files = as_form(*[(file("a"), b"x")] * 3)
    assert len(read(files, FORM, pictures=3).pictures) == 3
    problem = refused(files, FORM, pictures=2)
    assert (problem.status, problem.name) == (413, "too-many-pictures")


# ----------------------------------------------------------------------------------------------------------------------
# Whatever comes


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.sampled_from(["application/json", FORM, "multipart/form-data;boundary=x",
    "image/png"]), st.text(st.characters(max_codepoint=255), max_size=60)),
    st.one_of(st.binary(max_size=200), st.lists(st.sampled_from([
        b"--b0undary", b"--x", b"\r\n", b"--", b"Content-Disposition: form-data; name=", b'"a"', b"; filename=x",
        b"abc",
        b"Content-Type: image/png", b": ", b'{"image": "', b'"}', b"\xff", b'{"images": [', b"]",
    ]), max_size=12).map(b"".join)),
)  # fmt: skip
def test_whatever_comes_is_read_or_refused(kind: str, content: bytes) -> None:
    try:
        body, status = read(content, kind), 200
    except Problem as problem:
        body, status = Body(), problem.status
    assert status in (200, 400, 413, 415)
    assert all(isinstance(each, bytes) for each in body.pictures)
