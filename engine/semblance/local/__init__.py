"""Local features: the keypoints of one picture, and the geometry that joins those of two."""
