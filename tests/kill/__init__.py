"""The kill harness: kills runs, resumes them, and compares their results."""
