"""The frozen part of a classifier: cut off, folded and run by an engine."""
