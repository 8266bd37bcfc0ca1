"""The reference experiment: five models side by side, with a report."""
