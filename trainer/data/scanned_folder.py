"""A folder on disk or at a URL as `layout` sees it."""

from __future__ import annotations

import functools

from trainer.data.walk import is_folder, is_image, visible

# A file of each workdir; see `trainer.workdir`, which is a room above.
WORKDIR_MARKER = "workdir.json"


class ScannedFolder:
    """A folder on disk or at a URL, listed when it is first asked."""

    def __init__(
        self, path: str, name: str, *, as_before: bool = False
    ) -> None:
        """Creates the folder without listing it.

        Args:
          path: where the folder is.
          name: its name on disk.
          as_before: see `walk.walk_images`; workdirs count as data too.
        """
        self.path = path
        self.name = name
        self._as_before = as_before

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
        old = self._as_before
        entries = visible(self.path, as_before=old)
        if not old and any(x.name == WORKDIR_MARKER for x in entries):
            # The charts of a run are no data.
            return (), False
        folders = tuple(
            ScannedFolder(entry.path, entry.name, as_before=old)
            for entry in entries
            if is_folder(entry)
        )
        return folders, any(is_image(x, as_before=old) for x in entries)
