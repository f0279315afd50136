"""How commands that embed are told of GPUs and waiting threads.

In: `--devices 0,1`, `--tf32`, `--gpu-memory 4G`, `--no-spinning`. Out: what sessions take; None where nothing was said,
so that a backend for the CPU can refuse what means nothing to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from semblance.inference.backends.options import GpuOptions

Devices = Annotated[
    str | None, typer.Option(metavar="0,1", help="Numbers of the GPUs that share the batches. Default: 0.")
]
Tf32 = Annotated[
    bool, typer.Option("--tf32", help="Round float32 products on the GPU to 10 bits: faster, and no longer fp32.")
]
GpuMemory = Annotated[
    str | None, typer.Option(metavar="4G", help="Most memory of a session on a GPU: bytes, or with K, M or G.")
]
NoSpinning = Annotated[
    bool, typer.Option("--no-spinning", help="Threads that wait for work sleep, which leaves the processor to others.")
]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def gpu_options(devices: str | None, tf32: bool, gpu_memory: str | None) -> GpuOptions | None:
    """What was said of GPUs; None where nothing was. Raises BadParameter, InputError for a device named twice."""
    if devices is None and not tf32 and gpu_memory is None:
        return None
    from semblance.inference.backends.options import GpuOptions

    return GpuOptions(
        devices=(0,) if devices is None else parse_devices(devices),
        tf32=tf32,
        memory_limit_bytes=None if gpu_memory is None else parse_bytes(gpu_memory),
    )


def parse_devices(text: str) -> tuple[int, ...]:
    """`0,1` -> (0, 1). Raises BadParameter."""
    if not re.fullmatch(r"\d+(,\d+)*", text, re.ASCII):
        raise typer.BadParameter(f"--devices takes numbers with commas between them, as 0,1; was given {text!r}")
    return tuple(map(int, text.split(",")))


def parse_bytes(text: str) -> int:
    """`4G` -> 4 x 2^30; K, M and G count by 1,024. Raises BadParameter."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text, re.ASCII | re.IGNORECASE)
    num_bytes = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if num_bytes < 1:
        raise typer.BadParameter(
            f"--gpu-memory takes a number of bytes above 0, or one with K, M or G, as 4G; was given {text!r}"
        )
    return num_bytes
