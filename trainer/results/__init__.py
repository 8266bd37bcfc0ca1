"""Evaluation, prediction, export and reports."""
