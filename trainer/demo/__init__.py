"""The data set and the backbone that come with the project."""
