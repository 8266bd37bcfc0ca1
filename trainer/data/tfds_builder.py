"""The TFDS builder of a data set, and errors in the user's terms."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from trainer.config.fields import DEMO
from trainer.data.connectivity import unreachable_host
from trainer.data.samples import printable
from trainer.data.tfds_metadata import check_metadata
from trainer.data.tfds_names import FOOD10, base_name, similar_names
from trainer.errors import (
    TrainerError,
    UsageError,
    one_line,
    shortened,
    untrusted,
)


class Builder:
    """The TFDS builder of a data set, and the name that the user gave it."""

    def __init__(self, dataset: str, name: str, data_dir: str | None) -> None:
        """Creates the builder; downloads nothing.

        Args:
          dataset: the name that the user gave, for errors.
          name: the name in TFDS.
          data_dir: where TFDS keeps its data; None: its own default.

        Raises:
          UsageError: there is no such data set.
          TrainerError: its metadata are not safe to read.
        """
        import tensorflow_datasets as tfds

        self._dataset = dataset
        self._name = name
        if base_name(name) == DEMO:
            # TFDS knows the project's own data set once it is imported.
            import trainer.demo.builder  # noqa: F401
        self._data_dir = data_dir and os.path.expanduser(data_dir)
        if data_dir is None and tfds.core.constants.DATA_DIR.startswith("~"):
            # TFDS would create a folder named "~" here.
            raise UsageError(
                "--tfds_data_dir: not given, and this user has no home folder"
                f" to look for {name} in; give --tfds_data_dir=FOLDER"
            )
        try:
            if base_name(name) is None:
                raise tfds.core.registered.DatasetNotFoundError(name)
            self._builder = self._open()
        except tfds.core.registered.DatasetNotFoundError:
            raise UsageError(self._not_found()) from None
        except TrainerError:
            raise
        except Exception as error:  # Raised by the data set's own code.
            raise UsageError(
                f"--dataset={dataset!r}: {in_one_line(error)}; give a config"
                " and version that TFDS has"
            ) from None
        self.location = str(self._builder.data_path)

    @property
    def info(self) -> Any:
        """TFDS's `DatasetInfo`."""
        return self._builder.info

    def _open(self) -> Any:
        """Returns TFDS's builder; one made later may find the data prepared."""
        import tensorflow_datasets as tfds

        check_metadata(
            self._name, self._data_dir, flag=f"--dataset={self._dataset!r}"
        )
        with _without_warnings():
            return tfds.builder(
                self._name, data_dir=self._data_dir, try_gcs=False
            )

    def error(self, text: str) -> TrainerError:
        """Returns an error that begins with the flag."""
        return TrainerError(f"--dataset={self._dataset!r}: {text}")

    def prepare_again(self, first: str = "") -> str:
        """Returns the advice to prepare the data set again.

        The folder has to be removed, because TFDS never changes one that
        exists.

        Args:
          first: what to do before that, if anything.
        """
        start = f"{first}, " if first else ""
        return (
            f"{start}remove {printable(self.location)} and prepare the data set"
            " again"
        )

    def parsing(self) -> AbstractContextManager[None]:
        """Returns the context in which TFDS interprets the metadata."""
        label = f"--dataset={self._dataset!r}: {printable(self.location)}"
        return untrusted(label, self.prepare_again())

    def _not_found(self) -> str:
        near = similar_names(self._dataset)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        return (
            f"--dataset={self._dataset!r}: neither a folder nor a TFDS"
            f" name{hint}; give a folder of photos, {DEMO}, {FOOD10} or a name"
            " from the TFDS catalogue"
        )

    def prepare(self) -> None:
        """Downloads and prepares the data set, unless that has been done.

        Raises:
          TrainerError: it cannot be prepared.
        """
        import tensorflow_datasets as tfds

        if self._is_prepared():
            return
        remedy = self._announce()
        sys.stdout.flush()
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            self._builder.download_and_prepare(download_config=config)
        # Each data set raises errors of its own.
        except Exception as error:
            self._builder = self._open()
            # Another process may have been faster.
            if self._is_prepared():
                return
            raise self.error(
                f"cannot be prepared ({in_one_line(error)}); {remedy}"
            ) from None

    def _announce(self) -> str:
        """Prints what is prepared; returns the remedy in case that fails."""
        where = printable(self.location)
        # Set by data sets that are drawn instead of downloaded.
        making = getattr(self._builder, "making", None)
        if making:
            print(f"{self._name}: {making} to {where} (once)")
            return "point --tfds_data_dir at a folder with space to write in"
        remedy = (
            "prepare it on a machine with a network (tfds build"
            f" {self._name}) and point --tfds_data_dir at it"
        )
        # TFDS itself gives up only after minutes.
        host = unreachable_host(self._builder.url_infos or {})
        if host:
            raise self.error(
                f"not prepared under {self.location} and {host} cannot be"
                f" reached; {remedy}"
            )
        print(f"{self._name}: downloading to {where}")
        return remedy

    def _is_prepared(self) -> bool:
        with _without_warnings():
            return bool(self._builder.is_prepared())


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Hides TFDS's warnings that a data set is not prepared."""
    from absl import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def in_one_line(error: BaseException) -> str:
    """Returns the whole message of an error, in at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return shortened(one_line(text), 300)
