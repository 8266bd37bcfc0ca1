"""Runs --stage=check_data: checks a data set before training."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.config import Config
from trainer.config.fields import NONE
from trainer.data.dataset_flag import check_dataset
from trainer.data.samples import Source
from trainer.doctor import findings as kinds
from trainer.doctor.clean_list import check_listable, write_list
from trainer.doctor.findings import Finding
from trainer.doctor.labels import OutOfFold, out_of_fold
from trainer.doctor.looks import Looks, look_at
from trainer.doctor.near import near_duplicates
from trainer.doctor.page import page
from trainer.doctor.pool import Pool, open_pool, read_pool
from trainer.doctor.report import Checked, by_kind, estimate, lines, to_json
from trainer.doctor.suspects import margins, ranked_suspects
from trainer.errors import TrainerError, counted, one_line
from trainer.native_memory import return_freed, return_large_at_once
from trainer.results.progress import ConsoleProgress
from trainer.run.caches import file_cache, row_cache
from trainer.run.prepare import RunSetup, prepare
from trainer.workdir import Workdir
from trainer.workdir.lock import locked

CHECK_JSON, CHECK_HTML = "check.json", "check.html"
# The exit status of a check that found something.
FOUND = 3


def check_data(config: Config) -> int:
    """Checks every image and label of a data set, and reports what is odd.

    Args:
      config: of the command.

    Returns:
      The exit status: 0 if nothing was found, else 3.

    Raises:
      UsageError: a flag is invalid.
      TrainerError: the data set has no readable image.
      Stopped: a signal arrived.
    """
    return_large_at_once()
    check_dataset(config.dataset)
    setup = prepare(dataclasses.replace(config, strategy="one_device"))
    source = open_pool(config)
    if config.write_list:
        check_listable(source, config.write_list)
    workdir = Workdir(setup.config.workdir)
    print(f"workdir: {one_line(workdir.path)}", flush=True)
    new = workdir.create()
    try:
        with locked(workdir):
            workdir.remove_partial()
            checked = _check(setup, source, workdir)
            return _report(config, checked, workdir)
    except BaseException:
        if new:
            workdir.remove_if_empty()
        raise


def _check(setup: RunSetup, source: Source, workdir: Workdir) -> Checked:
    """Returns everything that the check finds."""
    config = setup.config
    pool = read_pool(source, file_cache(config))
    samples = pool.samples
    if not len(samples):
        raise TrainerError(
            f"--dataset={config.dataset!r}: no image can be read; the first"
            f" error is {pool.bad[0]}; give other images"
        )
    looks = look_at(
        samples,
        row_cache(config, config.cache),
        report=ConsoleProgress(len(samples)).rows,
        warn=workdir.warn,
    )
    exact, near = copy_groups(pool, looks)
    return_freed()
    predicted = _predictions(setup, pool, near, workdir)
    found = [
        *(
            Finding(kind=kinds.UNREADABLE, row=-1, detail=b.reason)
            for b in pool.bad
        ),
        *kinds.pixel_findings(looks),
        *kinds.copy_findings(
            exact, near, samples.labels, pool.splits, pool.class_names
        ),
        *_suspects(pool, predicted),
    ]
    return Checked(
        pool=pool,
        looks=looks,
        findings=by_kind(found),
        labels_checked=predicted is not None,
        estimate=estimate(
            len(samples),
            config.image_size,
            predicted.channels if predicted else None,
            predicted.images_per_second if predicted else None,
        ),
    )


def copy_groups(pool: Pool, looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """Returns the groups of images of equal bytes, and of those alike.

    Blank images look alike without being copies, so only their bytes count.

    Returns:
      Two int (n,), see `findings.groups_of`.
    """
    count = len(pool.samples)
    equal = kinds.equal_pairs(pool.samples.digests)
    # One image of each group of equal bytes stands for all.
    single = np.ones(count, bool)
    single[equal[:, 1]] = False
    single &= ~kinds.is_blank(looks)
    rows = np.flatnonzero(single)
    alike = rows[near_duplicates(looks.thumbnails[rows])]
    return (
        kinds.groups_of(count, equal),
        kinds.groups_of(count, np.concatenate([equal, alike.reshape(-1, 2)])),
    )


def _predictions(
    setup: RunSetup, pool: Pool, groups: np.ndarray, workdir: Workdir
) -> OutOfFold | None:
    """Returns predictions to compare labels with; None after a warning."""
    if setup.config.weights == NONE:
        workdir.warn(
            "--weights=none: labels are not compared with predictions, because"
            " a random backbone cannot predict them"
        )
        return None
    found = out_of_fold(
        setup, pool, groups, cache=file_cache(setup.config), warn=workdir.warn
    )
    if found is None:
        workdir.warn(
            "labels are not compared with predictions, because every class has"
            " one image"
        )
    return found


def _suspects(pool: Pool, predicted: OutOfFold | None) -> list[Finding]:
    """Returns the images whose label is probably wrong, worst first."""
    if predicted is None:
        return []
    labels = pool.samples.labels[predicted.rows]
    probabilities = predicted.probabilities
    by = margins(probabilities, labels)
    found = []
    for number in ranked_suspects(probabilities, labels).tolist():
        own = pool.class_names[int(labels[number])]
        best = int(probabilities[number].argmax())
        found.append(
            Finding(
                kind=kinds.SUSPECT,
                row=int(predicted.rows[number]),
                detail=(
                    f"labelled {own}, looks like {pool.class_names[best]}"
                    f" (margin {by[number]:.2f})"
                ),
            )
        )
    return found


def _report(config: Config, checked: Checked, workdir: Workdir) -> int:
    """Writes and prints the result, and returns the exit status."""
    workdir.write_json(CHECK_JSON, to_json(checked))
    workdir.write_text(CHECK_HTML, page(checked))
    for line in lines(checked):
        print(line)
    if config.write_list:
        kept = write_list(checked, config.write_list)
        print(f"list: {one_line(config.write_list)} ({counted(kept, 'image')})")
    print(f"report: {one_line(workdir.file(CHECK_HTML))}")
    total = checked.total()
    if not total:
        print("nothing found")
        return 0
    images = len(checked.rows()) + len(checked.pool.bad)
    print(f"{counted(total, 'finding')} in {counted(images, 'image')}")
    return FOUND
