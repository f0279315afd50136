"""Vectors on disk and their neighbours."""
