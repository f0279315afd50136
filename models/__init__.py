"""The TensorFlow originals: one file per model, their training, and the small trained weights."""
