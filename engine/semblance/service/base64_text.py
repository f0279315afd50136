"""Base64 as a stranger wrote it, to the bytes that it stands for.

In: text in the standard alphabet (RFC 4648, section 4), padded. Out: bytes. Nothing is skipped over: what else stands
in the text may be the sign of another alphabet, and the bytes would be of another picture.
"""

from __future__ import annotations

import binascii


def from_base64(text: str) -> bytes:
    """What `text` stands for. Raises ValueError, which says what is wrong with it."""
    return binascii.a2b_base64(text, strict_mode=True)
