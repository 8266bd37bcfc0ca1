"""A stand-in for `tf.io.gfile` that keeps the rules of an object store.

TensorFlow's `ram://` is kinder and odder than a bucket: what is written is
seen at once, "w" adds to what is there, folders are no illusion.
"""

from __future__ import annotations

import types

import tensorflow as tf


class Bucket:
    """Objects by name, whole ones only; folders are what names have in common.

    Attributes:
      objects: what is stored.
      calls: names of the functions called, in order.
      break_at: the function that fails next: `write` after half of the bytes,
        `copy` before anything is there, `rename` before it has begun, `renamed`
        between its two halves; None: none.
    """

    def __init__(self) -> None:
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
        assert mode in ("rb", "wb"), f"{mode}: objects are whole"
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
        """Folders have a slash behind, as those of `gs://` have."""
        self.calls.append("listdir")
        if not self._below(path):
            raise _not_found(path)
        rest = [
            name[len(path) + 1 :]
            for name in self.objects
            if name.startswith(f"{path}/")
        ]
        return sorted({r.split("/")[0] + "/" * ("/" in r) for r in rest if r})

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
    """One that is read, or written and uploaded when it is closed."""

    def __init__(self, bucket: Bucket, path: str, mode: str) -> None:
        self._bucket, self._path, self._mode = bucket, path, mode
        self._position, self._written = 0, b""

    def __enter__(self) -> _Object:
        return self

    def __exit__(self, *error: object) -> None:
        # As TensorFlow's, it uploads what it has after an error too.
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
    return tf.errors.NotFoundError(None, None, f"{path} is not there")
