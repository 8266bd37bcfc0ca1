"""Size limits of images, for the eager check and for graphs."""

from __future__ import annotations

# Decoded this takes 300 MB, and each decoding thread may hold one such image.
# The largest photos of cameras have 100 megapixels; TensorFlow's JPEG decoder
# rejects more than 179.
MAX_PIXELS = 100_000_000
# All frames of a GIF together, of which the decoder holds one byte per pixel.
MAX_GIF_PIXELS = 3 * MAX_PIXELS
# The size of a BMP with MAX_PIXELS; compressed images are smaller.
MAX_BYTES = 4 * MAX_PIXELS
# Each scan of a progressive JPEG passes over the whole image. Encoders write
# about ten.
MAX_JPEG_SCANS = 200
# In a JPEG a block of 64 pixels takes at least one bit, so a complete file has
# at most 512 pixels per byte; the decoder invents what is missing. A WebP of
# 34 bytes may be complete at any size, with a single colour. Both are read up
# to MAX_SPARSE_PIXELS, which take up to 190 MB.
MAX_PIXELS_PER_BYTE = 512
MAX_SPARSE_PIXELS = 16_000_000
# Steps of the graph over the blocks of a GIF: about two per frame, 0.1 ms
# each.
MAX_GIF_STEPS = 10_000
# Segments of a JPEG, or chunks of a PNG or WebP, that are searched for EXIF
# data. A photo has about 20 segments before its pixels; a PNG of 30 MB has
# 4,000 chunks of 8 KiB.
MAX_HEADER_STEPS = 5_000
# Bytes between two segments of a JPEG, in which the next one is searched.
MAX_GAP_BYTES = 1 << 16
