"""HTTP/1.1 as bytes: requests made beforehand, answers read by hand, so that a client costs next to nothing.

In: a method, a target, a body. Out: the bytes of the request; and of an answer its status, head and body. One request
at a time is on a connection, so that whatever comes belongs to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HOST = "127.0.0.1"  # load goes nowhere else
RAW = "application/octet-stream"
_BOUNDARY = "a-part-of-a-form-3f7c"


def request(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request; `Content-Length` is that of the body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def embed_request(pictures: Sequence[bytes]) -> bytes:
    """One picture as the body itself, several as a form; the answer is to be raw float32 [N, D]."""
    if len(pictures) == 1:
        return request("POST", "/v1/embed", pictures[0], {"Content-Type": RAW, "Accept": RAW})
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    return request("POST", "/v1/embed", form(pictures), {"Content-Type": kind, "Accept": RAW})


def form(pictures: Sequence[bytes], boundary: str = _BOUNDARY) -> bytes:
    """multipart/form-data with a file for each picture."""
    parts = []
    for number, each in enumerate(pictures):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{number}"\r\n\r\n'
        parts.append(head.encode() + each + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


class AnswerReader:
    """One answer as its bytes come; `reset` before the next."""

    __slots__ = ("_left", "_parts", "_start", "head", "status", "will_close")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Wait for the next answer."""
        self.status = 0  # 0: its head is not complete
        self.head = b""
        self.will_close = False
        self._start = b""
        self._parts: list[bytes] = []
        self._left: int | None = 0  # bytes of the body to come; None: until the connection ends

    @property
    def is_ended_by_close(self) -> bool:
        """Whether its body has no length but that the connection ends."""
        return bool(self.status) and self._left is None

    @property
    def body(self) -> bytes:
        """What came of it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def feed(self, data: bytes) -> bool:
        """Take bytes; whether the answer is complete. Raises ValueError for what is none."""
        if not self.status:
            data = self._start + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._start = data
                return False
            self._read_head(data[:end])
            data = data[end + 4 :]
            if 100 <= self.status < 200:  # the real one follows
                self.reset()
                return self.feed(data) if data else False
        if data:
            self._parts.append(data)
            if self._left is not None:
                self._left -= len(data)
        return self._left is not None and self._left <= 0

    def _read_head(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 ") or not head[9:12].isdigit():
            raise ValueError(f"no answer of HTTP/1.1: {head[:40]!r}")
        self.status, self.head = int(head[9:12]), head
        lower = head.lower()
        self.will_close = b"\r\nconnection: close" in lower
        place = lower.find(b"\r\ncontent-length:")
        if self.status in (204, 304):
            self._left = 0
        elif place < 0:
            self._left, self.will_close = None, True
        else:
            self._left = int(lower[place + 17 :].partition(b"\r\n")[0])

    def header(self, name: str) -> str | None:
        """The value of a header."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name.lower().encode():
                return value.strip().decode("latin-1")
        return None
