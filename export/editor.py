"""A graph that can be rewritten: who makes a value, who uses it, which values are constants, what their shapes are.

In: a ModelProto whose shapes were inferred. Out: the same object, changed in place. The rules of simplify.py stand on
these few verbs. One promise keeps them simple: a value's name never changes its meaning, so what was learnt about it
stays true; what a rule moves elsewhere gets a new name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

Shape = tuple[int | None, ...]  # None: the batch, or unknown


class Editor:
    """Reads and rewrites the graph of one model. The model itself is changed by `finish`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        self._graph = model.graph
        self._constants = {each.name: each for each in model.graph.initializer}
        self._nodes = [node for node in map(_copy, model.graph.node) if not self._lifted(node)]
        self._outputs = {each.name for each in model.graph.output}
        self._shapes = known_shapes(model)
        infos = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._dtypes = {each.name: each.type.tensor_type.elem_type for each in infos}
        self._num_new = 0
        self._index()

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """All nodes, each behind those it depends on."""
        return list(self._nodes)

    def has(self, node: onnx.NodeProto) -> bool:
        """Whether that very node is still part of the graph."""
        return any(each is node for each in self._nodes)

    def maker(self, value: str) -> onnx.NodeProto | None:
        """The node whose output `value` is; None for inputs and constants."""
        return self._makers.get(value)

    def only_user(self, value: str) -> onnx.NodeProto | None:
        """The node that reads `value`, if it is read once and is not the graph's output."""
        users = self._users.get(value, [])
        return users[0] if len(users) == 1 and value not in self._outputs else None

    def users(self, value: str) -> list[onnx.NodeProto]:
        """The nodes that read `value`, in the graph's order; one that reads it twice is there twice."""
        return list(self._users.get(value, []))

    def constant(self, value: str) -> NDArray[Any] | None:
        """The array behind a constant's name; None for what is computed."""
        tensor = self._constants.get(value)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def shape(self, value: str) -> Shape | None:
        """The shape of a value where it is known, with None for the batch axis."""
        if value in self._constants:
            return tuple(self._constants[value].dims)
        return self._shapes.get(value)

    def dtype(self, value: str) -> int | None:
        """The element type of an input, an output or a value between, as onnx numbers them; None where unknown."""
        return self._dtypes.get(value)

    def add_constant(self, array: NDArray[Any]) -> str:
        """A new constant; returns its name."""
        name = self.new_value(None)
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def new_value(self, shape: Shape | None) -> str:
        """A name for a value that did not exist before."""
        while (name := f"new~{self._num_new}") in self._makers or name in self._constants or name in self._shapes:
            self._num_new += 1
        self._num_new += 1
        if shape is not None:
            self._shapes[name] = shape
        return name

    def replace(self, old: Sequence[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
        """Put `new` where the last of `old` stood. What `new` reads must have been made before that place."""
        gone = {id(node) for node in old}
        place = max(index for index, node in enumerate(self._nodes) if id(node) in gone)
        before = [node for node in self._nodes[:place] if id(node) not in gone]
        self._nodes = [*before, *new, *self._nodes[place + 1 :]]
        self._index()

    def bypass(self, node: onnx.NodeProto, source: str) -> bool:
        """Remove `node`: whoever read its output reads `source`. False where that would lose the graph's output."""
        if node.output[0] in self._outputs:
            return False
        for user in self._users.get(node.output[0], []):
            user.input[:] = [source if name == node.output[0] else name for name in user.input]
        self._nodes = [each for each in self._nodes if each is not node]
        self._index()
        return True

    def finish(self) -> None:
        """Write the graph back into the model, without the nodes and constants that nothing reads."""
        needed = self._outputs.union(*(node.input for node in self._nodes))
        tensors = [tensor for name, tensor in self._constants.items() if name in needed]
        tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(tensors)

    def _index(self) -> None:
        """Note who makes and who reads each value, after leaving out what does not lead to an output."""
        needed, kept = set(self._outputs), []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self._nodes = kept[::-1]
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def _lifted(self, node: onnx.NodeProto) -> bool:
        """Constant nodes become initializers, so that there is one kind of constant."""
        if node.op_type != "Constant" or node.attribute[0].name != "value":
            return False
        array = numpy_helper.to_array(node.attribute[0].t)
        self._constants[node.output[0]] = numpy_helper.from_array(array, node.output[0])
        return True


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the shape of every value, computed strictly and with the values of shape arithmetic."""
    return shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def known_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The inferred shapes of inputs, outputs and values between; None for each symbolic or unknown size."""
    graph = model.graph
    shapes: dict[str, Shape] = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        if info.type.tensor_type.HasField("shape"):
            sizes = info.type.tensor_type.shape.dim
            shapes[info.name] = tuple(size.dim_value if size.HasField("dim_value") else None for size in sizes)
    return shapes


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, or `default`."""
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def altered(
    node: onnx.NodeProto, inputs: Sequence[str] | None = None, output: str | None = None, **attributes: Any
) -> onnx.NodeProto:
    """A copy of `node` with other inputs, another output or other attributes, where they are given."""
    copy = _copy(node)
    if inputs is not None:
        copy.input[:] = inputs
    if output is not None:
        copy.output[:] = [output]
    kept = [each for each in node.attribute if each.name not in attributes]
    del copy.attribute[:]
    copy.attribute.extend(kept)
    copy.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return copy


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    return onnx.NodeProto.FromString(node.SerializeToString())
