"""What runs through a network's layers on real images: how each value spreads, and the mean of each channel.

In: an fp32 graph, the names of values in it, images. Out: a `Spread` for each value. One pass through ONNX Runtime in
small batches, with the values as further outputs; of each only its counts and sums are kept, so that memory depends on
the batch and not on how many images there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.histogram import Histogram
from export.parity import THREADS
from semblance.errors import ModelError
from semblance.inference.backends.ort import WHOLE_SUMS
from semblance.instructions import cuts_byte_sums_off

_FLOATS_AT_ONCE = 1 << 26  # of all values of a batch together: 256 MiB


@dataclass(slots=True)
class Spread:
    """What is known of one value [N, C, ...] over all images."""

    histogram: Histogram = field(default_factory=Histogram)
    sums: NDArray[np.float64] | None = None  # [C], over images and places
    num_summed: int = 0  # of each channel

    def add(self, values: NDArray[np.float32]) -> None:
        """Count a batch of them. Raises ValueError where one is not finite."""
        self.histogram.add(values)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        sums = values.sum(axis=axes, dtype=np.float64)
        self.sums = sums if self.sums is None else self.sums + sums
        self.num_summed += values.size // max(1, len(sums))

    @property
    def channel_means(self) -> NDArray[np.float64]:
        """[C] float64."""
        assert self.sums is not None  # the caller counted something
        return self.sums / max(1, self.num_summed)


def calibrate(model: onnx.ModelProto, values: Sequence[str], images: NDArray[np.uint8]) -> dict[str, Spread]:
    """The spread of each of `values` (float, [N, C, ...]) when `model` embeds `images` [N, H, W, C] uint8.

    Raises ModelError where one of them is not finite.
    """
    session = open_session(with_outputs(model, values))
    spreads = {name: Spread() for name in values}
    for batch in in_batches(images, batch_size(session, values, images)):
        arrays = session.run(list(values), {"image": batch})
        for name, array in zip(values, arrays, strict=True):
            try:
                spreads[name].add(array)
            except ValueError as error:
                raise ModelError(f"{name} has {error}; the weights are damaged, or the network overflows") from error
    return spreads


def with_outputs(model: onnx.ModelProto, values: Sequence[str]) -> onnx.ModelProto:
    """A copy that gives `values`, float and of any shape, as outputs beside its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {each.name for each in copy.graph.output}
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in values if name not in present
    )
    return copy


def open_session(model: onnx.ModelProto, *, optimize: bool = True) -> Any:
    """An ONNX Runtime session of `model` on the CPU with the threads of a comparison.

    Without `optimize` each node is computed as the graph says, none is fused, moved or left out.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.log_severity_level = 3
    # else its threads spin on for a while, in the way of the session that it is timed against: MobileNet's 8-bit file
    # came out 2.0 times as fast as fp32 in place of 2.7
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if cuts_byte_sums_off():  # as the engine opens an int8 file there
        options.add_session_config_entry(WHOLE_SUMS, "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_batches(images: NDArray[np.uint8], size: int) -> Iterable[NDArray[np.uint8]]:
    """`images` in stretches of `size`, the last one shorter."""
    return (np.ascontiguousarray(images[start : start + size]) for start in range(0, len(images), size))


def batch_size(session: Any, values: Sequence[str], images: NDArray[np.uint8]) -> int:
    """As many images as keep all values of a batch below a bound of memory, found by the first image."""
    if len(images) == 0:
        return 1
    floats = sum(array.size for array in session.run(list(values), {"image": images[:1]}))
    return int(np.clip(_FLOATS_AT_ONCE // max(1, floats), 1, 32))
