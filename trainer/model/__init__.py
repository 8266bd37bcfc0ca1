"""Classifiers: backbones, pixels, freeze plans and gradients."""
