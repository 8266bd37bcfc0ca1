"""Detects images that change while a run reads them."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.data.manifest import Manifest
from trainer.data.samples import printable
from trainer.errors import TrainerError
from trainer.storage import files


def changed_image(path: str) -> TrainerError:
    """Returns the error for an image that has changed since it was checked.

    Args:
      path: the file of the image.
    """
    return TrainerError(
        f"{printable(path)}: changed after the images were checked; let"
        " whatever writes to the data set finish, then start again (training:"
        " in a new --workdir)"
    )


def changed_files(manifest: Manifest) -> list[str]:
    """Finds files whose size or time differs from what the check found.

    Files at a URL are not checked: objects are always replaced as a whole,
    and one request per file would take too long.

    Returns:
      Printable paths of the changed files among the run's own samples.
    """
    known = {
        path: (file.size, file.mtime_ns)
        for part in manifest.splits.values()
        for path, file in zip(part.samples.paths, part.files, strict=True)
    }
    used = {
        path
        for part in (manifest.train, manifest.validation, manifest.final)
        for path in part.paths
        if path in known and not files.is_remote(path)
    }
    return [
        printable(path)
        for path in sorted(used)
        if _size_and_time(path) != known[path]
    ]


def _size_and_time(path: str) -> tuple[int, int] | None:
    """Returns size and modification time; None if there is no file."""
    try:
        found = files.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def changes_warning(paths: Sequence[str]) -> str:
    """Returns the warning about files that changed during a run."""
    return (
        f"files of the data set changed during the run ({len(paths)}, such as"
        f" {paths[0]}): the results may come from the old images or from the"
        " new ones; to be sure, train again in a new --workdir"
    )
