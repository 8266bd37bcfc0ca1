"""Compares backbones on the training images: which one to choose."""
