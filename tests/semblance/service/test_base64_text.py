"""Base64: what stands for bytes, and what does not."""

from __future__ import annotations

import base64

import pytest

from semblance.service.base64_text import from_base64


@pytest.mark.parametrize("content", [b"", b"a", b"ab", b"abc", bytes(range(256))], ids=len)
def test_what_was_written_is_read(content: bytes) -> None:
    assert from_base64(base64.b64encode(content).decode()) == content


@pytest.mark.parametrize("text", ["YWJj\n", "YWJ", "YWJjZ", "YWJj YWJj", "-_-_", "ä", "=", "YQ==YQ=="])
def test_what_is_none_is_not_skipped_over(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_base64(text)
