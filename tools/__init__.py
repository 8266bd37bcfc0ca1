"""Programs that make what the project ships; no part of a run."""
