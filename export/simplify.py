"""What a converter leaves in a graph that an image need not pass through: folded, permuted or cut away.

In: a converted ModelProto. Out: another that gives the same embeddings to float32's rounding with fewer nodes, and with
no arithmetic on shapes: a GPU would run that on the CPU, and wait. Each rule is a small function on one node; they are
applied until none fires any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from export import folds, moves
from export.crop import crop_unseen
from export.editor import Editor, inferred

Rule = Callable[[Editor, onnx.NodeProto], bool]

RULES: tuple[Rule, ...] = (
    moves.gather_stacked_slices,
    moves.gather_reversed_slice,
    moves.gather_reversed_sequence,
    moves.sink_gather,
    moves.merge_transposes,
    moves.reshape_instead,
    moves.hoist_transpose,
    moves.merge_reshapes,
    moves.hoist_reshape,
    moves.drop_tile,
    moves.pool_globally,
    moves.permute_dense,
    folds.gemm_of_matmul,
    folds.fold_into_producer,
    folds.sink_scale,
    folds.fold_scale_into_conv,
    folds.fold_pad,
)


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """An equivalent of `model` (batch axis first and dynamic) without what can be computed once at export."""
    model = fix_reshapes(model)
    model = apply_rules(model, RULES)
    return with_short_names(crop_unseen(model))


def apply_rules(model: onnx.ModelProto, rules: Sequence[Rule]) -> onnx.ModelProto:
    """Apply the rules, each to every node, until none fires."""
    model = inferred(model)
    editor = Editor(model)
    while any(_fires_somewhere(editor, rule) for rule in rules):
        pass
    editor.finish()
    return model


def fix_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each Reshape to a computed shape whose only unknown size is the batch gets the constant shape [-1, ...]."""
    model = inferred(model)
    editor = Editor(model)
    for node in editor.nodes:
        shape = editor.shape(node.output[0])
        if node.op_type != "Reshape" or shape is None or editor.constant(node.input[1]) is not None:
            continue
        if shape and shape[0] is None and None not in shape[1:]:
            editor.replace([node], [moves.reshape_node(editor, node.input[0], node.output[0], shape)])
    editor.finish()
    return model


def with_short_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose values and nodes are named by kind and place, as `conv_3`.

    A converter's names count on from whatever the process built before, so that the same model would give another file.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    names = {each.name: each.name for each in (*graph.input, *graph.output)}
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{index}"
        for place, value in enumerate(node.output):
            names.setdefault(value, node.name if place == 0 else f"{node.name}.{place}")
    constants = {each.name: each for each in graph.initializer}
    for node in graph.node:
        for place, value in enumerate(node.input):
            names.setdefault(value, f"{node.name}.constant_{place}" if value else "")
        node.input[:] = [names[value] for value in node.input]
        node.output[:] = [names[value] for value in node.output]
    ordered = sorted(constants.values(), key=lambda each: list(names).index(each.name))
    del graph.initializer[:], graph.value_info[:]
    for tensor in ordered:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
    return copy


def shape_arithmetic(model: onnx.ModelProto) -> list[str]:
    """The names of the nodes that compute with shapes; none in a graph that a GPU runs without waiting for the CPU."""
    return [node.name for node in model.graph.node if node.op_type in ("Shape", "Size", "NonZero")]


def _fires_somewhere(editor: Editor, rule: Rule) -> bool:
    """Apply one rule wherever it fires; a node that a firing removed is not looked at again."""
    fired = False
    for node in editor.nodes:
        if editor.has(node):
            fired = rule(editor, node) or fired
    return fired
