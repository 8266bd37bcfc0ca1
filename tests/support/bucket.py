"""A fake of `tf.io.gfile` that follows the rules of an object store.

TensorFlow's `ram://` differs from a bucket: writes are visible at once, mode
"w" appends to an existing file, and folders really exist.
"""

from __future__ import annotations

import types

import tensorflow as tf


class Bucket:
    """Whole objects by name; a folder is a common prefix of names.

    Attributes:
      objects: the content of each object, by URL.
      calls: names of the functions called, in order.
      break_at: the next function to fail: `write` after half of the bytes,
        `copy` before it writes, `rename` before it starts, `renamed` between
        its copy and its removal; None for no failure.
    """

    def __init__(self) -> None:
        """Creates an empty bucket."""
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.break_at: str | None = None

    def _break(self, where: str) -> None:
        if self.break_at == where:
            self.break_at = None
            raise tf.errors.UnavailableError(None, None, "the network is gone")

    def GFile(self, path: str, mode: str) -> _Object:  # noqa: N802
        self.calls.append("GFile")
        if mode == "rb" and path not in self.objects:
            raise _not_found(path)
        assert mode in ("rb", "wb"), (
            f"{mode}: objects are read or written whole"
        )
        return _Object(self, path, mode)

    def exists(self, path: str) -> bool:
        self.calls.append("exists")
        return path in self.objects or self._below(path)

    def isdir(self, path: str) -> bool:
        self.calls.append("isdir")
        return self._below(path)

    def _below(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self.objects)

    def stat(self, path: str) -> types.SimpleNamespace:
        self.calls.append("stat")
        if path not in self.objects and not self._below(path):
            raise _not_found(path)
        return types.SimpleNamespace(
            is_directory=path not in self.objects,
            length=len(self.objects.get(path, b"")),
            mtime_nsec=1,
        )

    def listdir(self, path: str) -> list[str]:
        """Returns the names; those of folders end in a slash, as in `gs://`."""
        self.calls.append("listdir")
        if not self._below(path):
            raise _not_found(path)
        rest = [
            name[len(path) + 1 :]
            for name in self.objects
            if name.startswith(f"{path}/")
        ]
        first = [name.partition("/") for name in rest if name]
        return sorted({f"{name}{slash}" for name, slash, _ in first})

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        self.calls.append("rename")
        assert not self._below(source), "folders cannot be moved"
        self._break("rename")
        assert overwrite or target not in self.objects
        self.objects[target] = self.objects[source]
        self._break("renamed")
        del self.objects[source]

    def copy(self, source: str, target: str, overwrite: bool) -> None:
        self.calls.append("copy")
        self._break("copy")
        if "://" in source:
            with open(target, "wb") as stream:
                stream.write(self.objects[source])
        else:
            assert overwrite or target not in self.objects
            with open(source, "rb") as stream:
                self.objects[target] = stream.read()

    def remove(self, path: str) -> None:
        self.calls.append("remove")
        if path not in self.objects:
            raise _not_found(path)
        del self.objects[path]

    def rmtree(self, path: str) -> None:
        self.calls.append("rmtree")
        for name in [n for n in self.objects if n.startswith(f"{path}/")]:
            del self.objects[name]

    def makedirs(self, path: str) -> None:
        self.calls.append("makedirs")
        self.objects.setdefault(f"{path}/", b"")


class _Object:
    """An open object; writes are uploaded when it is closed."""

    def __init__(self, bucket: Bucket, path: str, mode: str) -> None:
        self._bucket = bucket
        self._path = path
        self._mode = mode
        self._position = 0
        self._written = b""

    def __enter__(self) -> _Object:
        return self

    def __exit__(self, *error: object) -> None:
        # After an error too, as TensorFlow does it.
        if self._mode == "wb":
            self._bucket.objects[self._path] = self._written

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, length: int) -> bytes:
        data = self._bucket.objects[self._path][self._position :]
        return data if length < 0 else data[:length]

    def write(self, data: bytes) -> None:
        if self._bucket.break_at == "write":
            self._written += data[: len(data) // 2]
        self._bucket._break("write")
        self._written += data


def _not_found(path: str) -> tf.errors.NotFoundError:
    return tf.errors.NotFoundError(None, None, f"{path} is missing")
