"""Checks a data set before training: images, duplicates and labels."""
