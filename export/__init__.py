"""Keras originals -> ONNX files that describe themselves, each proven to answer as its original does.

The way of a model: graph.py (one graph, uint8 to embedding) -> simplify.py (what a converter leaves behind is folded
away) -> parity.py (the same real images through both) -> write.py (the file, with its card, in place).

The way of a variant, from that file on: labelled.py (real images) -> half.py or int8.py (the graph in fewer bits) ->
gate.py (whether it finds what the file finds) -> variant.py (joins them). 8 bits come about in calibration.py
(histogram.py: what runs through the network) -> ranges.py -> quantize.py (layers.py, levels.py, rounding.py), and
sensitivity.py says which layers to leave in float.
"""
