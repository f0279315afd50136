"""The processor: what it is, how much of it this process may use, and what that means for a model's precision.

In: the root of a file system with /proc. Out: one record; what a system does not say is None, empty or absent.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semblance.container import ContainerLimits, read_limits
from semblance.inference.backends.openvino import INSTALL as INSTALL_OPENVINO
from semblance.instructions import cpuinfo, processor_name

# By name, the flags in /proc/cpuinfo of which one is enough
_X86 = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "AMX": ("amx_tile",),
}
_ARM = {"dot product": ("asimddp",), "i8mm": ("i8mm",), "bf16": ("bf16",), "SVE": ("sve",)}


@dataclass(frozen=True, slots=True)
class Feature:
    """Instructions that matter to a model's speed."""

    name: str
    flags: tuple[str, ...]  # as the system calls those that are here; empty: the processor does not have it


@dataclass(frozen=True, slots=True)
class Processor:
    """One machine's, as this process sees it."""

    model: str
    processors: int  # that the machine has
    threads: int  # of them that this process may run on
    quota: float | None  # processors' worth of time that its container allows; None: all
    memory_bytes: int | None  # that the machine has
    memory_limit_bytes: int | None  # that its container allows; None: all
    features: tuple[Feature, ...]  # empty: the system does not tell them
    follows: tuple[str, ...]  # what it means for a user


def read_processor(*, threads: int, has_openvino: bool, root: Path = Path("/")) -> Processor:
    """`threads` are those that this process may run on."""
    facts = cpuinfo(root)
    features = _features(facts)
    limits = read_limits(root)
    memory = _memory(root)
    limit = limits.memory_bytes
    return Processor(
        model=processor_name(root),
        processors=os.cpu_count() or 1,
        threads=threads,
        quota=limits.processors,
        memory_bytes=memory,
        memory_limit_bytes=limit if limit is not None and (memory is None or limit < memory) else None,
        features=features,
        follows=(*_of_limits(threads, limits), *_of_features(features, has_openvino=has_openvino)),
    )


def _features(facts: dict[str, str]) -> tuple[Feature, ...]:
    for field, table in (("flags", _X86), ("Features", _ARM)):
        if field in facts:
            here = set(facts[field].split())
            return tuple(Feature(name, tuple(flag for flag in flags if flag in here)) for name, flags in table.items())
    return ()


def _memory(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:")), None)


def _of_limits(threads: int, limits: ContainerLimits) -> Iterator[str]:
    quota = limits.processors
    if quota is not None and math.ceil(quota) < threads:
        yield (
            f"its container has {quota:g} processors' worth of time: the default of --threads is "
            f"{max(1, math.ceil(quota))}, not {threads}"
        )


def _of_features(features: tuple[Feature, ...], *, has_openvino: bool) -> Iterator[str]:
    has = {feature.name: feature.flags for feature in features}
    if not has:
        return
    products = [flag for name in ("VNNI", "dot product", "i8mm") for flag in has.get(name, ())]
    if products:
        yield f"int8 gains here: it multiplies 8-bit integers itself ({', '.join(products)})"
    elif "VNNI" in has:
        yield "int8 gains little here and can lose accuracy: without VNNI sums of 8-bit products overflow at 16 bits"
    else:
        yield "int8 gains little here: it has no products of 8-bit integers"
    if has["bf16"]:
        missing = "" if has_openvino else f", which is not installed: {INSTALL_OPENVINO}"
        yield f"bf16 gains here through OpenVINO ({', '.join(has['bf16'])}){missing}"
    else:
        yield "bf16 gains nothing here: it would be computed by way of fp32"
