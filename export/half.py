"""An fp32 graph in half precision, with what halves are too coarse for left in fp32; and what it really computes.

In: an fp32 graph. Out: one whose layers and their weights are float16, between Casts, with a uint8 image and a float32
embedding as before. Preprocessing stays in fp32, averages (a sum over a whole image loses its small parts, or
overflows) and the normalisation too.

On a CPU ONNX Runtime computes halves in float32 and leaves the roundings between layers out wherever it put the casts
itself, so a gate on the file would pass what a GPU computes otherwise. `rounded` says every rounding as two Casts of
ours, which it may not leave out: the same graph in float32 with each value rounded to half where it is stored as one,
and sums in float32, as the tensor cores of GPUs keep them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.calibration import in_batches, open_session
from export.editor import Editor, altered, attribute, inferred
from semblance.errors import ModelError

LARGEST = 65504.0  # that a float16 holds; what rounds to more is infinite
_OVERFLOW = 65520.0  # halfway to the next, which there is not

# Products are in halves, and behind them, up to the next average or norm, what acts on each value by itself or moves it
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ARITHMETIC = ("Add", "Mul", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Elu", "Tanh")
_EXACT = (
    "Relu", "Clip", "MaxPool", "GlobalMaxPool", "Concat", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze",
    "Slice", "Gather",
)  # fmt: skip

_BATCH = 32


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The half precision form of `model`. Raises ModelError where a weight is beyond what a half can hold."""
    model = inferred(model)
    writer = _Writer(Editor(model))
    return writer.write(model)


def nodes_in_half(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that a model of `to_half` computes in halves."""
    editor = Editor(inferred(model))
    return [node.name for node in editor.nodes if _is_in_half(editor, node)]


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """What a model of `to_half` computes, as an fp32 graph that any processor computes alike.

    Beside `embedding` it has an output `VALUE.peak` for each value that is rounded: its largest magnitude before.
    """
    model = inferred(model)
    editor = Editor(model)
    nodes: list[onnx.NodeProto] = []
    floats: dict[str, NDArray[np.float32]] = {}
    peaks: list[str] = []
    for node in editor.nodes:
        is_to_half = node.op_type == "Cast" and attribute(node, "to") == TensorProto.FLOAT16
        if node.op_type == "Cast" and editor.dtype(node.input[0]) == TensorProto.FLOAT16:
            nodes.append(helper.make_node("Identity", node.input, node.output, node.name))
        elif is_to_half or (_is_in_half(editor, node) and node.op_type not in _EXACT):
            exact = f"{node.output[0]}.exact"
            nodes.append(
                helper.make_node("Identity", node.input, [exact], node.name)
                if is_to_half
                else altered(node, _float_inputs(editor, node, floats), exact)
            )
            nodes += _rounding(exact, node.output[0])
            peaks.append(f"{node.output[0]}.peak")
        else:
            nodes.append(altered(node, _float_inputs(editor, node, floats)))
    return _rebuilt(model, nodes, floats, peaks)


def embed_rounded(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[N, D] float32 from `images` [N, H, W, C] uint8 by a model of `to_half`, rounded as halves are.

    Raises ModelError where a value overflows, and names it.
    """
    session = open_session(rounded(model))
    names = [each.name for each in session.get_outputs()]
    embeddings = []
    for batch in in_batches(images, _BATCH):
        outputs = dict(zip(names, session.run(names, {"image": batch}), strict=True))
        embeddings.append(outputs.pop("embedding"))
        for name, peak in outputs.items():
            if not peak < _OVERFLOW:
                raise ModelError(
                    f"{name.removesuffix('.peak')} reaches {float(peak):,.6g}, a half holds {LARGEST:,.0f} at most: no "
                    "fp16 for this model; int8 and bf16 have no such limit"
                )
    return np.concatenate(embeddings)


# ------------------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes the graph in halves node by node, in the order of the float one."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._nodes: list[onnx.NodeProto] = []
        self._halves: dict[str, NDArray[np.float16]] = {}
        self._is_half = set[str]()
        self._casts: dict[str, str] = {}  # of a value to its other type, made once

    def write(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The whole graph, its output in float32."""
        output = model.graph.output[0].name
        for node in self._editor.nodes:
            is_half = self._is_chosen(node)
            inputs = [self._half(name) if is_half else self._float(name) for name in node.input]
            if is_half and output in node.output:
                inner = f"{output}.half"
                self._nodes.append(altered(node, inputs, inner))
                self._nodes.append(helper.make_node("Cast", [inner], [output], f"{inner}.cast", to=TensorProto.FLOAT))
                continue
            self._nodes.append(altered(node, inputs))
            if is_half:
                self._is_half.update(node.output)
        return _rebuilt(model, self._nodes, self._halves)

    def _is_chosen(self, node: onnx.NodeProto) -> bool:
        if self._editor.dtype(node.output[0]) != TensorProto.FLOAT:
            return False
        follows = node.op_type in (*_ARITHMETIC, *_EXACT) and any(name in self._is_half for name in node.input)
        return node.op_type in _PRODUCTS or follows

    def _half(self, name: str) -> str:
        """A float value or constant as half; what is no float, as a shape, stays."""
        constant = self._editor.constant(name) if name else None
        if constant is not None and constant.dtype == np.float32:
            self._halves[f"{name}.half"] = _as_halves(name, constant)
            return f"{name}.half"
        if not name or self._editor.dtype(name) != TensorProto.FLOAT or name in self._is_half:
            return name
        return self._cast(name, f"{name}.half", TensorProto.FLOAT16)

    def _float(self, name: str) -> str:
        return self._cast(name, f"{name}.float", TensorProto.FLOAT) if name in self._is_half else name

    def _cast(self, name: str, cast: str, dtype: int) -> str:
        if name not in self._casts:
            self._casts[name] = cast
            self._nodes.append(helper.make_node("Cast", [name], [cast], f"{cast}.cast", to=dtype))
        return self._casts[name]


def _is_in_half(editor: Editor, node: onnx.NodeProto) -> bool:
    return node.op_type != "Cast" and editor.dtype(node.output[0]) == TensorProto.FLOAT16


def _as_halves(name: str, constant: NDArray[np.float32]) -> NDArray[np.float16]:
    largest = float(np.abs(constant[np.isfinite(constant)]).max(initial=0))
    if largest >= _OVERFLOW:
        raise ModelError(f"the constant {name} has {largest:,.6g}, and a half holds {LARGEST:,.0f} at most; take bf16")
    return constant.astype(np.float16)


def _rounding(exact: str, name: str) -> list[onnx.NodeProto]:
    """`name` = `exact` rounded to half and back; and its largest magnitude."""
    return [
        helper.make_node("Cast", [exact], [f"{name}.rounded"], f"{name}.round", to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{name}.rounded"], [name], f"{name}.back", to=TensorProto.FLOAT),
        helper.make_node("Abs", [exact], [f"{name}.magnitude"], f"{name}.abs"),
        helper.make_node("ReduceMax", [f"{name}.magnitude"], [f"{name}.peak"], f"{name}.max", keepdims=0),
    ]


def _float_inputs(editor: Editor, node: onnx.NodeProto, floats: dict[str, NDArray[np.float32]]) -> list[str]:
    """A node's inputs, constants in half as the same numbers in float32."""
    names = []
    for name in node.input:
        constant = editor.constant(name) if name else None
        if constant is not None and constant.dtype == np.float16:
            floats[f"{name}.value"] = constant.astype(np.float32)
            name = f"{name}.value"
        names.append(name)
    return names


def _rebuilt(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    scalars: Sequence[str] = (),
) -> onnx.ModelProto:
    """A copy of other nodes, further constants and outputs, without what nothing reads any more."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in scalars)
    Editor(copy).finish()
    return copy
