"""Searches for a training recipe by validation accuracy."""
