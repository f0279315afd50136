"""Pixels to vectors: batches worked ahead, one session per model, one file per backend."""
