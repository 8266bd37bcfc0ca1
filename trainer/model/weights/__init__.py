"""Pretrained weights: file formats in, a loaded backbone out."""
