"""What the processor says of itself, and so whether its sums of products of bytes come out whole.

In: /proc/cpuinfo. Out: its fields, its name, a yes or no. Without VNNI x86 adds two products of u8 x s8 in 16 bits and
cuts the sum off (VPMADDUBSW, Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2), so that an int8
graph which passed its gate elsewhere would find other neighbours here.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_X86 = ("x86_64", "AMD64", "i386", "i686")
_VNNI = frozenset(("avx512_vnni", "avx_vnni"))


def cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """The fields of the first processor that says them; empty where the system does not tell."""
    facts: dict[str, str] = {}
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return facts
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts


def flags(root: Path = Path("/")) -> frozenset[str] | None:
    """The instructions of the first processor, as the system calls them; None where it does not tell."""
    facts = cpuinfo(root)
    found = facts.get("flags", facts.get("Features"))
    return None if found is None else frozenset(found.split())


def processor_name(root: Path = Path("/")) -> str:
    """What the processor is called, as far as the system says."""
    return cpuinfo(root).get("model name") or platform.processor() or platform.machine()


@cache
def cuts_byte_sums_off(root: Path = Path("/"), machine: str | None = None) -> bool:
    """Whether sums of u8 x s8 may be cut off on this `machine` (default: this one's); also where nobody tells."""
    if (platform.machine() if machine is None else machine) not in _X86:
        return False
    has = flags(root)
    return has is None or not has & _VNNI
