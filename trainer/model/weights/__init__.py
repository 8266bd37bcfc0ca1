"""Pretrained weights: reads file formats and loads backbones."""
