"""Weights as signed bytes, a scale for each output, and biases that make up for what rounding shifts on average.

In: weights and biases in float32, the means of a layer's inputs, the scale of its input's levels. Out: int8 levels,
scales, int32 biases. Rounding a weight errs for every image in the same direction, since activations behind a ReLU are
never negative; that mean error is known beforehand and belongs to the bias (Nagel et al., "Data-free quantization
through weight equalization and bias correction", ICCV 2019, section 4.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 127  # -128 is left out: the levels are the same on both sides of zero
_BIAS_MOST = 2.0**30  # half of what int32 holds, so that the products still fit on top
_SMALLEST = 1e-20  # weight that is told from zero; far above, a scale is still exact, times another one too

_SMALLEST_SHARE = 0.7  # of the largest weight that a scale may end at
_STEPS = 16
_CACHED = 1 << 16  # weights that stay in the cache while all steps are tried

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.int8]


def weight_scales(rows: Floats) -> Floats:
    """The width of a level for each output's weights, [O] from [O, K]: that of the least mean square error.

    A wide range makes levels coarse for all weights of an output, for the sake of its largest one. An output whose
    weights are all zero has a scale next to nothing, since its bias is told in units of it.
    """
    at_once = max(1, _CACHED // max(1, rows.shape[1]))
    parts = [_best_scales(rows[start : start + at_once]) for start in range(0, len(rows), at_once)]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _best_scales(rows: Floats) -> Floats:
    largest = np.abs(rows).max(axis=1, initial=0)  # [o]
    widest = np.maximum(largest, np.float32(_SMALLEST)) / np.float32(MOST)
    best, best_error = widest, np.full(len(rows), np.inf, np.float32)
    for share in np.linspace(1.0, _SMALLEST_SHARE, _STEPS, dtype=np.float32):
        scale = widest * share
        change = np.clip(np.rint(rows / scale[:, None]), -MOST, MOST) * scale[:, None] - rows
        error = np.einsum("ok,ok->o", change, change)
        is_better = error < best_error
        best, best_error = np.where(is_better, scale, best), np.where(is_better, error, best_error)
    return best


def room_for_bias(scales: Floats, bias: Doubles, input_scale: float) -> Floats:
    """`scales` [O], wider where a bias [O] would not fit into int32 in units of input_scale * scale.

    That is where an output's weights are next to nothing and all it gives is its bias.
    """
    return np.maximum(scales, np.abs(bias) / (_BIAS_MOST * input_scale)).astype(np.float32)


def to_levels(rows: Floats, scales: Floats | Doubles) -> Bytes:
    """[O, K] float32 -> the nearest levels int8 [O, K], at most 127 from zero."""
    return np.clip(np.rint(rows / scales[:, None]), -MOST, MOST).astype(np.int8)


def mean_shift(error: Doubles, means: Doubles, groups: int = 1) -> Doubles:
    """What an error of the weights adds to each output on average: [O].

    `error` [O, C / groups] is summed over a kernel's places, `means` [C] are the input channels'. Places beyond a
    picture's edge, where the input is zero, are counted like all others.
    """
    num_outputs, num_inputs = error.shape
    per_group = means.reshape(groups, num_inputs)  # [groups, C / groups]
    of_output = np.repeat(per_group, num_outputs // groups, axis=0)  # [O, C / groups]
    return np.asarray((error * of_output).sum(axis=1), np.float64)
