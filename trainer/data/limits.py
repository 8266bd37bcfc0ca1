"""The largest images that are read, by the eager check and by graphs."""

from __future__ import annotations

# Decoded that is 300 MB, of which each thread that decodes may hold one. The
# largest photos that cameras write have 100 megapixels, and TensorFlow's JPEG
# decoder ends at 179.
MAX_PIXELS = 100_000_000
# In all frames of a GIF together: the decoder holds one byte per pixel.
MAX_GIF_PIXELS = 3 * MAX_PIXELS
# A BMP of MAX_PIXELS has as many; compressed images have fewer.
MAX_BYTES = 4 * MAX_PIXELS
# Each scan of a progressive JPEG passes over the whole image. Encoders write
# about ten.
MAX_JPEG_SCANS = 200
# A block of 64 pixels takes at least one bit of a JPEG, so 512 pixels a byte is
# the least that is complete; below it the decoder invents the rest. A WebP of
# 34 bytes may be complete at any size, and show one colour. Up to
# MAX_SPARSE_PIXELS, which take up to 190 MB, both are read.
MAX_PIXELS_PER_BYTE = 512
MAX_SPARSE_PIXELS = 16_000_000
# Steps of the graph over the blocks of a GIF, about two for each frame. A step
# takes 0.1 ms.
MAX_GIF_STEPS = 10_000
