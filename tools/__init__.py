"""Tools for developers of the trainer."""
