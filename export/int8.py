"""The 8-bit variant of a model: ranges by the best of several methods, as few layers in float as it takes.

In: an fp32 graph, images to calibrate on, and a judge of what comes out. Out: the quantised graph, and how it came
about. All methods are tried on the calibration images, where only likeness to fp32 counts; if the judge then says no,
the layers that suffer most are left in float, twice as many each time, and then as few as pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from export.calibration import calibrate, in_batches, open_session
from export.gate import Gate, cosines
from export.quantize import layer_scales, quantize, values_to_calibrate
from export.ranges import METHODS, Range
from export.sensitivity import layer_snr_db

_log = logging.getLogger(__name__)

_BATCH = 32
_LEAST_SHARE = 2  # one layer in so many stays in 8 bits: with fewer the file would be int8 by name alone
_NUM_RANKED = 32  # images that layers are ranked by; each has thousands of places

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantized:
    """An 8-bit graph, what the judge found, and how it was made."""

    model: onnx.ModelProto
    gate: Gate
    method: str  # of the ranges
    num_calibration_images: int
    in_float: tuple[str, ...]  # layers, in the graph's order
    num_layers: int  # that have weights


def to_int8(model: onnx.ModelProto, calibration: Images, judge: Callable[[onnx.ModelProto], Gate]) -> Quantized:
    """The 8-bit form of `model` with the fewest layers in float that `judge` lets pass, else with half."""
    spreads = calibrate(model, values_to_calibrate(model), calibration)
    means = {name: spread.channel_means for name, spread in spreads.items()}
    scales = layer_scales(model)

    def quantized(ranges: Mapping[str, Range], in_float: tuple[str, ...] = ()) -> onnx.ModelProto:
        return quantize(model, ranges, means, scales, in_float=in_float)

    candidates = {
        method: {name: measure(spread.histogram) for name, spread in spreads.items()}
        for method, measure in METHODS.items()
    }
    method = _likest(model, ((name, quantized(ranges)) for name, ranges in candidates.items()), calibration)
    ranges = candidates[method]
    gates = {0: judge(quantized(ranges))}
    ranked: list[str] = []
    if not gates[0].passed:
        few = calibration[:: max(1, len(calibration) // _NUM_RANKED)]
        ranked = list(layer_snr_db(model, ranges, means, scales, few))
        ranked = ranked[: len(ranked) // _LEAST_SHARE]

    def passes(count: int) -> bool:
        if count not in gates:
            gates[count] = judge(quantized(ranges, tuple(ranked[:count])))
            _log.info("%d layers in float: P@10 lost %.4f", count, gates[count].lost_p_at_10)
        return gates[count].passed

    count = fewest(passes, len(ranked))
    order = list(scales)
    return Quantized(
        model=quantized(ranges, tuple(ranked[:count])),  # once more, instead of all that were tried kept in memory
        gate=gates[count],
        method=method,
        num_calibration_images=len(calibration),
        in_float=tuple(sorted(ranked[:count], key=order.index)),
        num_layers=len(order),
    )


def fewest(passes: Callable[[int], bool], most: int) -> int:
    """The smallest count up to `most` that passes, if more never hurt; `most` where none does.

    Doubled until one passes, then halved between: about twice log2 of the answer, where trying each is the answer.
    """
    if passes(0):
        return 0
    failed, count = 0, min(1, most)
    while count < most and not passes(count):
        failed, count = count, min(2 * count, most)
    if not passes(count):
        return most
    while count - failed > 1:
        middle = (failed + count) // 2
        failed, count = (failed, middle) if passes(middle) else (middle, count)
    return count


def embed(model: onnx.ModelProto, images: Images) -> Vectors:
    """[N, D] float32 from `images` [N, H, W, C] uint8, by ONNX Runtime on the CPU."""
    session = open_session(model)
    return np.concatenate([session.run(["embedding"], {"image": batch})[0] for batch in in_batches(images, _BATCH)])


def _likest(model: onnx.ModelProto, variants: Iterable[tuple[str, onnx.ModelProto]], images: Images) -> str:
    """The name of the variant whose embeddings have the highest mean cosine to the model's, of equal ones the first."""
    reference = embed(model, images)
    likeness = {name: float(cosines(embed(variant, images), reference).mean()) for name, variant in variants}
    _log.info("mean cosine to fp32: %s", {name: round(value, 5) for name, value in likeness.items()})
    return max(likeness, key=lambda name: likeness[name])
