"""What is measured: one setting of a session, and which of all settings are worth a measurement.

In: the precisions that a model has. Out: settings. All combinations of precision, input and output, graphs, layout and
search at nine batch sizes would be hundreds; so each precision goes one factor at a time from a sensible start, and
what is fastest there goes on to the next factor and at last to all batch sizes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Precision = Literal["fp32", "tf32", "fp16"]
Io = Literal["plain", "bound"]

PARTS = ("proofs", "speed", "race")  # of a run
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# In the order in which they are decided; whether a run is plain or bound decides nothing inside the session
FACTORS: dict[str, tuple[Any, ...]] = {
    "search": ("HEURISTIC", "EXHAUSTIVE", "DEFAULT"),  # of cudnn_conv_algo_search
    "nhwc": (False, True),
    "graphs": (False, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a session is made and called."""

    precision: Precision = "fp32"  # fp16 is another file; tf32 the fp32 file with rounded operands
    io: Io = "bound"  # plain: numpy in and out at every run; bound: buffers on the device, reused
    graphs: bool = False  # replayed as CUDA graphs, which need bound buffers
    nhwc: bool = False
    search: str = "HEURISTIC"

    def __post_init__(self) -> None:
        assert not (self.graphs and self.io == "plain"), "a graph needs the same addresses at every run"

    @property
    def session_key(self) -> tuple[Any, ...]:
        """Settings with the same key are one session: how it is called is no matter of its own."""
        return self.precision, self.graphs, self.nhwc, self.search

    def provider_options(self) -> dict[str, str]:
        """For CUDAExecutionProvider, on device 0."""
        return {
            "use_tf32": str(int(self.precision == "tf32")),
            "enable_cuda_graph": str(int(self.graphs)),
            "prefer_nhwc": str(int(self.nhwc)),
            "cudnn_conv_algo_search": self.search,
        }

    def __str__(self) -> str:
        graphs, layout = ("graphs" if self.graphs else "no graphs"), ("NHWC" if self.nhwc else "NCHW")
        return f"{self.precision}, {self.io}, {graphs}, {layout}, {self.search}"

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def alternatives(best: Setting, factor: str) -> list[Setting]:
    """`best`, and the settings that differ from it in `factor` alone."""
    return [best, *(replace(best, **{factor: value}) for value in FACTORS[factor] if value != getattr(best, factor))]


def everywhere(best: Setting) -> list[Setting]:
    """What is measured at every batch size of a precision whose fastest setting is `best`."""
    without = replace(best, graphs=False)
    return [replace(without, io="plain"), without, replace(without, graphs=True)]


def pivot(batches: list[int], *, is_small: bool) -> int:
    """The batch at which factors are compared: where a small model, or a photograph's, is near its best."""
    wanted = 256 if is_small else 32
    return max((each for each in batches if each <= wanted), default=min(batches))
