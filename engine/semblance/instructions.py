"""What a processor can do with bytes: whether sums of their products come out whole.

In: /proc/cpuinfo. Out: a yes or no. Without VNNI x86 adds two products of u8 x s8 in 16 bits and cuts the sum off
(VPMADDUBSW, Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2), so that an int8 graph which passed
its gate elsewhere would find other neighbours here.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_X86 = ("x86_64", "AMD64", "i386", "i686")
_VNNI = frozenset(("avx512_vnni", "avx_vnni"))


def flags(root: Path = Path("/")) -> frozenset[str] | None:
    """The instructions of the first processor, as the system calls them; None where it does not tell."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    found = (
        line.partition(":")[2].split() for line in lines if line.partition(":")[0].strip() in ("flags", "Features")
    )
    first = next(found, None)
    return None if first is None else frozenset(first)


@cache
def cuts_byte_sums_off(root: Path = Path("/"), machine: str | None = None) -> bool:
    """Whether sums of u8 x s8 may be cut off on this `machine` (default: this one's); also where nobody tells."""
    if (platform.machine() if machine is None else machine) not in _X86:
        return False
    has = flags(root)
    return has is None or not has & _VNNI
