"""A folder on disk or at a URL as `layout` sees it."""

from __future__ import annotations

import functools

from trainer.data.walk import is_folder, is_image, visible

# A file of each workdir; see `trainer.workdir`, which is a room above.
WORKDIR_MARKER = "workdir.json"


class ScannedFolder:
    """A folder on disk or at a URL, listed when it is first asked."""

    def __init__(self, path: str, name: str) -> None:
        """Creates the folder without listing it."""
        self.path = path
        self.name = name

    @property
    def folders(self) -> tuple[ScannedFolder, ...]:
        """The folders directly in it, sorted by name."""
        return self._content[0]

    @property
    def has_images(self) -> bool:
        """Whether an image is directly in it."""
        return self._content[1]

    @functools.cached_property
    def _content(self) -> tuple[tuple[ScannedFolder, ...], bool]:
        entries = visible(self.path)
        if any(entry.name == WORKDIR_MARKER for entry in entries):
            # The charts of a run are no data.
            return (), False
        folders = tuple(
            ScannedFolder(entry.path, entry.name)
            for entry in entries
            if is_folder(entry)
        )
        return folders, any(map(is_image, entries))
