"""Writes the pooled features of images, of a run or of a plain backbone."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import interrupt
from trainer.config import Config
from trainer.data.check import CheckedSplit, read_encoded_image
from trainer.data.headers import UPRIGHT, orientation_warning
from trainer.data.manifest import Manifest
from trainer.data.rendering import render, rendering_of
from trainer.data.samples import printable
from trainer.distribute.runtime import Runtime
from trainer.errors import UsageError, counted, one_line
from trainer.learning.head_features import feature_function, head_features
from trainer.learning.inputs import Inputs
from trainer.model.backbones import find_backbone
from trainer.model.classifier import Classifier
from trainer.model.freeze import freeze_plan, set_trainable
from trainer.native_logs import native_notes_hidden
from trainer.results.embedding import (
    Embedding,
    Labels,
    check_output,
    write_embedding,
)
from trainer.results.file_forward import FileForward, FileOutput
from trainer.results.input_files import find_inputs, none_readable
from trainer.results.progress import ConsoleProgress
from trainer.run.classifiers import new_classifier
from trainer.run.fast_paths import fast_paths
from trainer.run.prepare import prepare, read_manifest
from trainer.run.trained import open_trained
from trainer.storage import files

# Maps a row's number to the encoded image.
_Encoded = Callable[[int], bytes]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Extractor:
    """A classifier whose backbone and pooling compute the features.

    Attributes:
      config: the configuration that it was built from.
      runtime: the devices.
      classifier: holds the weights; its head is not used.
      engine: the engine that ran the trunk in training; None if unknown.
      title: what computes the features, for the last line.
    """

    config: Config
    runtime: Runtime
    classifier: Classifier
    engine: str | None
    title: str

    def inputs(self, images: int, block: int) -> Inputs:
        """Returns inputs whose trunk, if there is one, ends before the head.

        Args:
          images: number of images that will be read.
          block: images per pass of the trunk as a graph; 0 chooses it.
        """
        options = fast_paths(
            dataclasses.replace(self.config, trunk_block=block),
            self.runtime,
            images=images,
            earlier=self.engine,
            training=False,
        )
        plan = freeze_plan(self.classifier, "none")
        set_trainable(self.classifier, plan)
        return options.for_stage(
            self.classifier,
            plan,
            warn=_warn,
            report=ConsoleProgress(images).rows,
        ).inputs


def embed(config: Config, given: frozenset[str]) -> None:
    """Writes the features of images, and with a data set also their labels.

    Args:
      config: the configuration, with stage embed.
      given: names of the flags given explicitly.

    Raises:
      UsageError: the workdir, the images or the backbone do not exist.
      TrainerError: the output cannot be written, the workdir cannot be used,
        or no image can be read.
    """
    assert config.output is not None
    paths = find_inputs(config.inputs) if config.inputs else None
    extractor = (
        _trained(config, given)
        if config.workdir is not None
        else _plain(config, given)
    )
    if paths is None and extractor.classifier.multilabel:
        raise UsageError(
            f"--dataset={config.dataset!r}: the run's images have several"
            " labels, which embed cannot write; give --inputs=IMAGES"
        )
    check_output(config.output)
    embedding, encoded = (
        _of_dataset(config, extractor)
        if paths is None
        else _of_files(config, extractor, paths)
    )

    def thumbnail(row: int, side: int) -> np.ndarray:
        image = render(
            tf.constant(encoded(row)), side, rendering_of(extractor.config)
        )
        interrupt.check()
        return tf.cast(tf.round(image), tf.uint8).numpy()

    written = write_embedding(config.output, embedding, thumbnail)
    count, channels = embedding.features.shape
    print(
        one_line(
            f"{counted(count, 'image')}, {channels} features each, by"
            f" {extractor.title}; {len(embedding.bad)} could not be read;"
            f" {written}"
        ),
        flush=True,
    )


def _trained(config: Config, given: frozenset[str]) -> _Extractor:
    """Returns the trained classifier of a run."""
    trained = open_trained(config, given)
    return _Extractor(
        config=trained.run,
        runtime=trained.runtime,
        classifier=trained.classifier,
        engine=trained.engine,
        title=f"{trained.stage} at step {trained.step} ({trained.which})",
    )


def _plain(config: Config, given: frozenset[str]) -> _Extractor:
    """Returns a backbone with the weights of `--weights`."""
    assert config.backbone is not None
    image_px = config.image_size
    if image_px is None and "dataset" not in given:
        # Only for the demo's images is the default another size.
        image_px = find_backbone(config.backbone).image_px
    setup = prepare(
        dataclasses.replace(config, image_size=image_px, strategy="one_device")
    )
    return _Extractor(
        config=setup.config,
        runtime=setup.runtime,
        # The head is not used; it has the fewest outputs that are legal.
        classifier=new_classifier(setup, 2, load=True),
        engine=None,
        title=setup.config.backbone,
    )


def _of_files(
    config: Config, extractor: _Extractor, paths: Sequence[str]
) -> tuple[Embedding, _Encoded]:
    """Returns the features of files, and how to read those again.

    Raises:
      TrainerError: none of the files can be read.
    """
    classifier = extractor.classifier
    # block=1: each pass computes one file, on all cores.
    trunk = extractor.inputs(len(paths), block=1).trunk
    compute = feature_function(classifier, extractor.runtime.xla)

    def forward(batch: dict[str, Any]) -> tf.Tensor:
        if trunk is not None:
            (features,) = batch["features"]
            return features
        return compute(batch["images"])

    reader = FileForward(
        forward,
        image_px=classifier.image_px,
        rendering=rendering_of(extractor.config),
        batch_size=extractor.config.batch_size,
        trunk=trunk,
        # The cut is before the head.
        shapes=((classifier.head.kernel.shape[0],),),
    )
    report = ConsoleProgress(len(paths)).rows
    found: list[FileOutput] = []
    with native_notes_hidden():
        for output in reader.run(paths):
            found.append(output)
            report("features", len(found), len(paths))
            interrupt.check()
    bad = tuple((printable(x.path), x.error) for x in found if x.error)
    good = [x for x in found if x.output is not None]
    if not good:
        raise none_readable(
            config.inputs, len(bad), f"{bad[0][0]}: {bad[0][1]}"
        )
    turned = [printable(x.path) for x in good if x.orientation != UPRIGHT]
    if turned and not rendering_of(extractor.config).exif:
        _warn(orientation_warning(len(turned), turned[0]))
    embedding = Embedding(
        features=np.stack([x.output for x in good if x.output is not None]),
        names=tuple(printable(x.path) for x in good),
        labels=None,
        bad=bad,
    )
    _warn_of_bad(bad)
    return embedding, lambda row: files.read(good[row].path)


def _of_dataset(
    config: Config, extractor: _Extractor
) -> tuple[Embedding, _Encoded]:
    """Returns the features of all splits of a data set; see `_of_files`."""
    manifest = _manifest(config)
    total = sum(len(part.samples) for part in manifest.splits.values())
    inputs = extractor.inputs(total, block=0)
    parts: list[np.ndarray] = []
    for part in manifest.splits.values():
        parts.append(
            head_features(
                part.samples,
                extractor.classifier,
                inputs.evaluation(part.samples, again=False),
                batch_size=extractor.config.batch_size,
                xla=extractor.runtime.xla,
                report=ConsoleProgress(len(part.samples)).rows,
            )
        )
    rows = [
        (split, part, row)
        for split, part in manifest.splits.items()
        for row in range(len(part.samples))
    ]
    bad = tuple((str(x.path), x.reason) for x in manifest.skipped)
    _warn_of_bad(bad)
    if manifest.turned and not rendering_of(extractor.config).exif:
        _warn(orientation_warning(len(manifest.turned), manifest.turned[0]))
    embedding = Embedding(
        features=np.concatenate(parts),
        names=tuple(part.samples.ids[row] for _, part, row in rows),
        labels=Labels(
            labels=np.concatenate(
                [part.samples.labels for part in manifest.splits.values()]
            ),
            class_names=manifest.class_names,
            splits=tuple(split for split, _, _ in rows),
        ),
        bad=bad,
    )
    return embedding, lambda number: _encoded(*rows[number][1:])


def _encoded(part: CheckedSplit, row: int) -> bytes:
    found = read_encoded_image(part.samples, row)
    assert found is not None  # The check has read it.
    return found


def _manifest(config: Config) -> Manifest:
    """Returns all readable images; bad ones are left out, as in predict."""
    return read_manifest(dataclasses.replace(config, on_bad_image="skip"))


def _warn_of_bad(bad: Sequence[tuple[str, str]]) -> None:
    if bad:
        name, error = bad[0]
        more = f" (and {len(bad) - 1} more)" if bad[1:] else ""
        _warn(f"{name}{more}: {error}; left out")


def _warn(text: str) -> None:
    print(f"warning: {one_line(text)}", file=sys.stderr)
