"""What a backend is told when it loads a graph: of the model, of the machine, and what its user wants.

In: plain values. Out: frozen records that backends read and never change. `GpuOptions` is what users say of a device;
`LoadOptions` is everything, as `Session` puts it together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from semblance.card import Precision
from semblance.errors import InputError
from semblance.options import checked_count

ConvSearch = Literal["heuristic", "exhaustive", "default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOptions:
    """How a GPU is used; nothing here means anything to a CPU. Raises InputError for values out of range."""

    devices: tuple[int, ...] = (0,)  # their numbers; each has a session of its own, and batches are shared out
    tf32: bool = False  # round the operands of float32 products to 10 bits: faster, and no longer fp32
    memory_limit_bytes: int | None = None  # of a session's arena; None: what the device has
    cuda_graphs: bool = True  # each bucket is recorded once and replayed: one launch instead of hundreds
    nhwc: bool = True  # channels last, as tensor cores want it
    conv_search: ConvSearch = "heuristic"  # how cuDNN chooses an algorithm for a convolution: `exhaustive` measures
    in_flight: int = 2  # batches inside one session: one is copied while another is computed

    def __post_init__(self) -> None:
        for device in self.devices:
            checked_count("devices", device, least=0)
        if not self.devices or len(set(self.devices)) < len(self.devices):
            raise InputError(f"devices must name each device once, and one at least, are {list(self.devices)}")
        if self.memory_limit_bytes is not None:
            checked_count("memory_limit_bytes", self.memory_limit_bytes)
        if self.conv_search not in get_args(ConvSearch):
            raise InputError(f"conv_search is one of {', '.join(get_args(ConvSearch))}, not {self.conv_search!r}")
        checked_count("in_flight", self.in_flight)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """All that a runner is loaded with."""

    threads: int  # that work on this runner's batches in all, those of the callers among them
    streams: int = 1  # batches that may be run at the same time, which share the threads
    spinning: bool = True  # threads wait for work awake: sooner there, and a processor is never idle meanwhile
    precision: Precision = "fp32"  # of the card
    shape: tuple[int, int, int] = (1, 1, 1)  # H, W, C of an image
    buckets: tuple[int, ...] = (1,)  # the batch sizes that will be run, ascending
    identity: str = "model"  # of the graph, for names of cached engines: other bytes, another identity
    device: int = 0  # the one of `gpu.devices` that this runner is for
    gpu: GpuOptions = field(default_factory=GpuOptions)

    @property
    def threads_told(self) -> str:
        """`1 thread`, `8 threads in 4 streams`: for people."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{threads} in {self.streams} streams" if self.streams > 1 else threads
