"""Where pictures come from: sources, decoding, and the size a model eats."""
