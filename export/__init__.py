"""Keras originals -> ONNX files that describe themselves, each proven to answer as its original does.

The way of a model: graph.py (one graph, uint8 to embedding) -> simplify.py (what a converter leaves behind is folded
away) -> parity.py (the same real images through both) -> write.py (the file, with its card, in place).
"""
