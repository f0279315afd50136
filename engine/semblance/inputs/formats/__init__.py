"""What each image format says of itself before its pixels: one file per format, each with `SIGNATURE` and `read`."""
