"""ResNet-101 with random weights, written as a graph node by node: a network to time where none is in the cache.

In: a seed. Out: an ONNX model of ours, `image` uint8 [N, 224, 224, 3] -> `embedding` float32 [N, 2048] of unit length,
and its fp16 form. He et al. 2015, "Deep Residual Learning for Image Recognition", the stride in the 3x3 convolution as
torchvision has it, batch normalisation folded away as every export folds it. How fast it is does not depend on what
its weights are; what it finds means nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.gpu_check.subjects import UNTRAINED as NAME
from semblance.card import CARD_KEY, ModelCard

ARCHITECTURE = "resnet101"
BLOCKS = (3, 4, 23, 3)

_SIZE = 224
_SMALL = 0.2  # of each block's last convolution: else 33 sums would outgrow what a half holds


class _Writer:
    """Appends layers to a graph."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node, and the name of its output."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], f"node_{name}", **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An initializer, and its name."""
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def convolution(self, data: str, channels: tuple[int, int], size: int, stride: int = 1, gain: float = 1.0) -> str:
        """`channels` in and out, padded so that only the stride changes the size; He's initialisation times `gain`."""
        fan_in = channels[0] * size * size
        shape = (channels[1], channels[0], size, size)
        values = self._rng.standard_normal(shape, np.float32) * np.float32(gain * np.sqrt(2 / fan_in))
        weight = self.constant(f"weight_{len(self.weights)}", values)
        bias = self.constant(f"bias_{len(self.weights)}", np.zeros(channels[1], np.float32))
        return self.add("Conv", data, weight, bias, kernel_shape=[size, size], strides=[stride, stride],
                        pads=[size // 2] * 4)  # fmt: skip

    def block(self, data: str, channels: int, width: int, stride: int) -> str:
        """A bottleneck: 1x1, 3x3, 1x1, and the way around it."""
        inner = self.add("Relu", self.convolution(data, (channels, width), 1))
        inner = self.add("Relu", self.convolution(inner, (width, width), 3, stride))
        inner = self.convolution(inner, (width, 4 * width), 1, gain=_SMALL)
        around = data if channels == 4 * width else self.convolution(data, (channels, 4 * width), 1, stride, gain=0.7)
        return self.add("Relu", self.add("Add", inner, around))


def build(seed: int = 0) -> onnx.ModelProto:
    """The fp32 model with its card."""
    writer = _Writer(seed)
    floats = writer.add("Cast", "image", to=TensorProto.FLOAT)
    centred = writer.add("Sub", floats, writer.constant("mean", np.array([[[[124, 117, 104]]]], np.float32)))
    scaled = writer.add("Mul", centred, writer.constant("scale", np.array(1 / 58, np.float32)))
    data = writer.add("Transpose", scaled, perm=[0, 3, 1, 2])
    data = writer.add("Relu", writer.convolution(data, (3, 64), 7, 2))
    data = writer.add("MaxPool", data, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, num_blocks in enumerate(BLOCKS):
        width = 64 << stage
        for number in range(num_blocks):
            data = writer.block(data, channels, width, 2 if stage and number == 0 else 1)
            channels = 4 * width
    pooled = writer.add("GlobalAveragePool", data)
    flat = writer.add("Reshape", pooled, writer.constant("flat", np.array([0, -1])))
    length = writer.add("ReduceL2", flat, writer.constant("axes", np.array([1])), keepdims=1)
    writer.add("Div", flat, length, output="embedding")
    graph = helper.make_graph(
        writer.nodes,
        NAME,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", _SIZE, _SIZE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", channels])],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    _set_card(model, _card(channels, seed))
    return model


def write(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """The fp32 and the fp16 file."""
    from export.half import to_half

    model = build(seed)
    files = folder / f"{NAME}.onnx", folder / f"{NAME}.fp16.onnx"
    onnx.save(model, files[0])
    half = to_half(model)
    del half.metadata_props[:]
    _set_card(half, _card(4 * 64 << 3, seed, precision="fp16"))
    onnx.save(half, files[1])
    return files


def _set_card(model: onnx.ModelProto, card: ModelCard) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, card.to_json()


def _card(dimension: int, seed: int, **fields: str) -> ModelCard:
    return ModelCard(
        name=NAME,
        height=_SIZE,
        width=_SIZE,
        channels=3,
        dimension=dimension,
        metric="cos",
        unit_length=True,
        architecture=ARCHITECTURE,
        layer="conv5_block3_out",
        pooling="average",
        preprocess="centred",
        weights_sha256=hashlib.sha256(f"{NAME} {seed}".encode()).hexdigest(),
        source=f"random, seed {seed}",
        **fields,  # type: ignore[arg-type]  # the precision
    )
