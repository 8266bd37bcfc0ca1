"""The reference experiment: five models side by side, and their report."""
