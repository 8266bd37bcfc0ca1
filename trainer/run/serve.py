"""Serves a page on this machine that predicts photos dropped on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.rendering import render, rendering_of
from trainer.errors import TrainerError, one_line, reason_of
from trainer.model.activation import class_activations
from trainer.results.json_lines import json_object
from trainer.results.page.images import data_uri, overlaid
from trainer.results.page.render import render as render_page
from trainer.results.predict import Predictor
from trainer.results.web import (
    ADDRESS,
    MAX_BYTES,
    Answer,
    BadImageError,
    ImageServer,
)
from trainer.run.label_thresholds import trained_thresholds
from trainer.run.trained import Trained, open_fast_paths, open_trained

_MAP_PX = 480
# The most probable classes that are shown.
_CLASSES = 20


def serve(config: Config, given: frozenset[str]) -> None:
    """Serves the page until a signal stops the program.

    Args:
      config: the configuration, with stage serve.
      given: names of the flags given explicitly.

    Raises:
      UsageError: the workdir does not exist.
      TrainerError: the workdir cannot be used, or the port is taken.
    """
    with started(config, given) as server:
        port = server.server_address[1]
        print(
            f"http://{ADDRESS}:{port}/ predicts on this machine only;"
            " Ctrl-C stops it",
            flush=True,
        )
        try:
            server.serve_forever()
        finally:
            # TensorFlow must not compute while the interpreter ends.
            server.lock.acquire(timeout=10)


def started(config: Config, given: frozenset[str]) -> ImageServer:
    """Returns the server, which listens but does not answer yet."""
    trained = open_trained(config, given)
    page = render_page(
        "serve.html",
        title=f"{len(trained.class_names)} classes of {trained.run.backbone}",
        note=f"{trained.title}. Photos stay on this machine.",
        max_bytes=MAX_BYTES,
    )
    try:
        return ImageServer(config.port, page, answering(trained))
    except OSError as error:
        raise TrainerError(
            f"--port={config.port}: cannot be used ({reason_of(error)}); give"
            " another, or 0 for a free one"
        ) from error


def answering(trained: Trained) -> Answer:
    """Returns the function that predicts one encoded image."""
    classifier, names = trained.classifier, trained.class_names
    partition, inputs = open_fast_paths(trained, images=1, block=1)
    rendering = rendering_of(trained.run)
    predictor = Predictor(
        classifier,
        batch_size=1,
        xla=trained.runtime.xla,
        partition=partition,
        trunk=inputs.trunk,
        flip=trained.flips,
        rendering=rendering,
    )
    several = classifier.multilabel
    thresholds = trained_thresholds(trained) if several else None

    def answer(encoded: bytes) -> dict[str, Any]:
        found = predictor.predict_encoded(encoded)
        if found.probabilities is None:
            raise BadImageError(one_line(found.error))
        best = int(np.argmax(found.probabilities))
        pixels = render(
            tf.constant(encoded), classifier.image_px, rendering
        ).numpy()
        (maps,) = class_activations(classifier, pixels[None], [[best]])
        values = json_object(
            found,
            names,
            top_k=min(len(names), _CLASSES),
            thresholds=thresholds,
        )
        del values["file"], values["error"]
        shown = overlaid(pixels, maps[0])
        return {**values, "map": data_uri(shown, max_px=_MAP_PX)}

    return answer
