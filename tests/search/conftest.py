"""The fixture of searches whose trials take no time."""

from tests.search.fake import trainer

__all__ = ["trainer"]
