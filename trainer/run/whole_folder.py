"""The images of a labelled folder that a trained model is evaluated on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from trainer.config import Config
from trainer.config.split_names import SPLIT_FLAGS
from trainer.data.check import (
    BadImage,
    CheckedSplit,
    apply_policy,
    check_images,
)
from trainer.data.earlier_checks import cache_checks, cached_checks
from trainer.data.labelled_folder import LabelledFolder, open_labelled_folder
from trainer.data.manifest import WHOLE_FOLDER, Manifest
from trainer.data.samples import printable
from trainer.errors import (
    TrainerError,
    UsageError,
    counted,
    shortened,
    untrusted,
)
from trainer.results.escaping import for_terminal
from trainer.run.caches import file_cache
from trainer.run.prepare import listing_bad_images, open_dataset, read_manifest
from trainer.run.trained import Trained
from trainer.storage import files
from trainer.workdir import MANIFEST
from trainer.workdir.stored import tested_samples

# Flags of data sets that are divided into splits.
_OF_SPLITS = ("columns", "group_by")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WholeFolder:
    """A folder to evaluate on as a whole.

    Attributes:
      manifest: its `final` holds all images of the run's classes.
      folder: what was found in the folder.
    """

    manifest: Manifest
    folder: LabelledFolder

    def line(self) -> str:
        """Returns what is evaluated and what is not, in one line."""
        total = len(self.manifest.final)
        places = self.folder.places
        counts = self.manifest.final.counts(len(self.manifest.class_names))
        classes = int((counts > 0).sum())
        parts = [
            f"{counted(total, 'photo')} of {counted(classes, 'class')}"
            f" from {for_terminal(', '.join(places))}"
        ]
        if self.folder.missing:
            parts.append(f"no photos of {_listed(self.folder.missing)}")
        if self.folder.left_out:
            number = sum(self.folder.left_out.values())
            shown = [f"{n} {k:,}" for n, k in self.folder.left_out.items()]
            parts.append(
                f"{counted(number, 'photo')} of"
                f" {counted(len(shown), 'other class')} left out:"
                f" {_listed(shown)}"
            )
        if self.manifest.skipped:
            number = len(self.manifest.skipped)
            parts.append(f"{counted(number, 'unreadable photo')} left out")
        parts += self.folder.passed_over.lines()
        return f"data: {'; '.join(parts)}"

    def announce(
        self, trained: Trained, stored: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Prints what is evaluated, and warns of images of the training.

        Args:
          trained: the trained classifier.
          stored: the JSON of the run's manifest, or {}.

        Returns:
          What evaluation.json says about the folder.
        """
        print(self.line(), flush=True)
        shared = training_images(trained, stored, self.manifest)
        warning = training_images_warning(shared, len(self.manifest.final))
        if warning:
            trained.workdir.warn(warning)
        return {
            "places": dict(self.folder.places),
            "missing_classes": list(self.folder.missing),
            "left_out_classes": dict(self.folder.left_out),
            "training_images": None if shared is None else len(shared),
        }


def read_data(
    trained: Trained,
    before: Config,
    given: frozenset[str],
    stored: Mapping[str, Any],
) -> tuple[WholeFolder | None, Manifest]:
    """Reads the data to evaluate on.

    A folder that `--dataset` names is read as a whole, unless it is the run's
    own data set, there or in another place.

    Args:
      trained: the trained classifier, from `with_data`.
      before: the run's configuration before that, with its rules of splits.
      given: names of the flags given explicitly.
      stored: the JSON of the run's manifest, or {}.

    Returns:
      The folder, if it is read as a whole, and the manifest.

    Raises:
      UsageError, TrainerError: the data cannot be used.
    """
    path = os.path.expanduser(before.dataset)
    if (
        "dataset" not in given
        or not files.is_dir(path)
        or printable(files.absolute(path)) == stored.get("location")
    ):
        return None, read_manifest(trained.run, dict(stored))
    if given.isdisjoint(SPLIT_FLAGS.values()):
        copy = _copy(before, stored)
        if copy is not None:
            return None, copy
    whole = read_whole_folder(trained, given)
    return whole, whole.manifest


def _copy(config: Config, stored: Mapping[str, Any]) -> Manifest | None:
    """Returns the manifest of a copy of the run's data set, else None."""
    try:
        splits = open_dataset(config).splits()
        # Those that cannot be read were left out.
        if not all(
            set(stored["splits"][split]["ids"]) <= set(samples.ids)
            for split, samples in splits.items()
        ):
            return None
        # Names such as 001.jpg may be the same in other data.
        found = read_manifest(config)
    except (TrainerError, UsageError, KeyError, TypeError):
        return None
    return found if found.fingerprint == stored.get("fingerprint") else None


def read_whole_folder(trained: Trained, given: frozenset[str]) -> WholeFolder:
    """Lists and checks all images of `--dataset`.

    Args:
      trained: the trained classifier, from `with_data`.
      given: names of the flags given explicitly.

    Raises:
      UsageError: a flag does not fit.
      TrainerError: the folder cannot be used, or its classes differ from the
        run's and `--strict_classes` is given.
    """
    config = trained.run
    for name in _OF_SPLITS:
        if name in given:
            raise UsageError(
                f"--{name}={getattr(config, name)!r}: not used when a"
                " whole folder is evaluated; leave it out"
            )
    folder = open_labelled_folder(
        os.path.expanduser(config.dataset),
        dataset=config.dataset,
        class_names=trained.class_names,
        names=config.split_names,
    )
    if config.strict_classes:
        _check_classes(config, folder)
    cache = file_cache(config)
    known = cached_checks(cache, folder.location, WHOLE_FOLDER)
    result = check_images(
        folder.samples, split=WHOLE_FOLDER, known=known.get(WHOLE_FOLDER)
    )
    with listing_bad_images():
        checked = apply_policy(
            [result],
            class_names=trained.class_names,
            on_bad_image=config.on_bad_image,
            every_class=False,
        )
    cache_checks(cache, folder.location, known, checked, WHOLE_FOLDER)
    final = checked[WHOLE_FOLDER].with_digests()
    if not len(final.samples):
        raise TrainerError(
            f"--dataset={config.dataset!r}: no readable image of the run's"
            f" classes ({result.bad[0]}); give a folder that has some"
        )
    manifest = _manifest(folder, final, result.bad, trained.class_names)
    return WholeFolder(manifest=manifest, folder=folder)


def _manifest(
    folder: LabelledFolder,
    final: CheckedSplit,
    bad: tuple[BadImage, ...],
    class_names: tuple[str, ...],
) -> Manifest:
    """Returns a manifest without samples to train or validate on."""
    none = final.samples.take([])
    return Manifest(
        name=os.path.basename(folder.location),
        location=folder.location,
        class_names=class_names,
        train=none,
        validation=none,
        validation_source=WHOLE_FOLDER,
        final=final.samples,
        final_split=WHOLE_FOLDER,
        skipped=bad,
        shared_content=(),
        fingerprint="",
        train_total=0,
        splits={WHOLE_FOLDER: final},
        passed_over=folder.passed_over,
    )


def _check_classes(config: Config, folder: LabelledFolder) -> None:
    """Raises an error if the classes differ from the run's."""
    parts = [
        f"{what} {_listed(names)}"
        for what, names in (
            ("lacks", folder.missing),
            ("also has", tuple(folder.left_out)),
        )
        if names
    ]
    if parts:
        raise TrainerError(
            f"--strict_classes: {for_terminal(config.dataset)}"
            f" {' and '.join(parts)}, compared with the run; give the run's"
            " classes, or leave the flag out to evaluate those that both have"
        )


def training_images(
    trained: Trained, stored: Mapping[str, Any], manifest: Manifest
) -> list[str] | None:
    """Returns the ids of the final samples that the run was trained on.

    Images are compared byte for byte.

    Args:
      trained: the trained classifier.
      stored: the JSON of the run's manifest, or {}.
      manifest: of the data to evaluate on.

    Returns:
      None if the manifest of the run does not say what it was trained on.
    """
    path = trained.workdir.file(MANIFEST)
    try:
        known = tested_samples(path, stored, "train")
        with untrusted(path, "restore the file"):
            used = {known[i].digest for i in stored["train_ids"] if i in known}
    except TrainerError:
        return None
    final = manifest.final
    pairs = zip(final.ids, final.digests, strict=True)
    return [sample_id for sample_id, digest in pairs if digest in used]


def training_images_warning(shared: list[str] | None, total: int) -> str | None:
    """Returns the warning about images that the run was trained on.

    Args:
      shared: see `training_images`.
      total: number of images evaluated.
    """
    if shared is None:
        return (
            "whether the run was trained on some of these photos is unknown,"
            f" because {MANIFEST} does not list them"
        )
    if not shared:
        return None
    return (
        f"the run was trained on {len(shared):,} of these"
        f" {counted(total, 'photo')}, such as {shared[0]}, so the accuracy is"
        " too high; remove them, or name the folder to evaluate with"
        " --test_split=NAME"
    )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return shortened(for_terminal(", ".join(names)))
