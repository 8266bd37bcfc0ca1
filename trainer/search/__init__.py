"""Searches for a recipe that suits the training images."""
