"""Which values of an 8-bit graph are stored as levels, and how levels say a value.

In: a graph's 8-bit layers, and the ranges of its values. Out: the levels of each stored value. What layers read and
convolutions give is stored; carriers pass levels on as they are; and an image's own bytes are levels already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.editor import Editor
from export.layers import CARRIERS, Layer
from export.ranges import LEVELS, Range, levels_of


@dataclass(frozen=True, slots=True)
class Levels:
    """How a value is stored in uint8: value = scale * (level - zero_point) + offset.

    The offset is not 0 only for an image's own levels, and then a matter for the biases of the layers that read it.
    """

    scale: float
    zero_point: int
    image: str = ""  # the uint8 value whose bytes are the levels, if there is one
    offset: float = 0.0

    @property
    def ends(self) -> Range:
        """The lowest and the highest value that they can say, without the offset."""
        scale = float(np.float32(self.scale))
        return -scale * self.zero_point, scale * (LEVELS - self.zero_point)


def stored_levels(editor: Editor, layers: Sequence[Layer], ranges: Mapping[str, Range]) -> dict[str, Levels]:
    """The levels of each value that is stored so: what 8-bit layers read and give, and what carriers carry to them."""
    read = {name for layer in layers for name in layer.inputs}
    wanted = set(read)
    for node in reversed(editor.nodes):
        if node.op_type in CARRIERS and node.output[0] in wanted:
            wanted.add(node.input[0])
    by_output = {layer.output: layer for layer in layers}
    stored: dict[str, Levels] = {}
    made_by = [(name, node) for node in editor.nodes for name in node.output]
    for name, node in made_by:
        if name in by_output:
            # a dense layer can give float at no cost; a convolution that did would be computed in float as a whole
            if name in wanted or by_output[name].node.op_type not in ("Gemm", "MatMul"):
                stored[name] = Levels(*levels_of(ranges[name]))
        elif name in wanted and node.op_type in CARRIERS and node.input[0] in stored:
            stored[name] = stored[node.input[0]]
        elif name in wanted and (image := _image_levels(editor, name, layers)) is not None:
            stored[name] = image
        elif name in read:
            stored[name] = Levels(*levels_of(ranges[name]))
    return stored


def _image_levels(editor: Editor, name: str, layers: Sequence[Layer]) -> Levels | None:
    """Where a value is scale * image + shift with the same numbers for all pixels: the image's bytes as its levels.

    A shift between two levels, as the 127.5 of x / 127.5 - 1, leaves half a level over: the value's offset.
    """
    scale, shift, node = 1.0, 0.0, editor.maker(name)
    while node is not None and node.op_type in ("Add", "Sub", "Mul", "Div"):
        number = editor.constant(node.input[1])
        if number is None or number.size != 1:
            return None
        value = float(number.reshape(()))
        if node.op_type in ("Add", "Sub"):  # y = scale * (x +- value) + shift
            shift += scale * (value if node.op_type == "Add" else -value)
        else:
            scale *= value if node.op_type == "Mul" else 1 / value
        node = editor.maker(node.input[0])
    if node is None or node.op_type != "Cast" or editor.dtype(node.input[0]) != TensorProto.UINT8 or scale <= 0:
        return None
    zero_point = int(np.rint(-shift / scale))
    offset = shift + scale * zero_point
    if not 0 <= zero_point <= LEVELS:
        return None
    makes_up = {id(layer.node) for layer in layers if layer.node.op_type in ("Conv", "Gemm")}
    if offset and not all(id(user) in makes_up for user in editor.users(name)):
        return None
    return Levels(scale, zero_point, node.input[0], offset)
