"""Views of a command that has run: one number, text or list each."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf

from tests.support.flag_cases.commands import Ran
from tests.support.runs import lines, weights
from tests.support.tiny import tiny_backbone
from trainer.model.classifier import make_classifier


def planned_stages(ran: Ran) -> list[str]:
    return re.findall(r"^stage (\w+): ", ran.said.out, re.MULTILINE)


def planned_head_steps(ran: Ran) -> int:
    return int(re.search(r" epochs of .* = (\d+) steps, ", ran.said.out)[1])


def planned_optimizers(ran: Ran) -> list[str]:
    """Returns the optimizer of each stage of the plan."""
    plan = ran.said.out.partition("\nstage ")[2].partition("\nsamples ")[0]
    return re.findall(r"(Adam|AdamW|L-BFGS)\b", plan)


def steps(ran: Ran) -> int:
    return ran.json("result.json")["steps"]


def monitored(ran: Ran) -> list[str]:
    """Returns the keys of the best validation with the monitored value."""
    result = ran.json("result.json")
    names = ("best_validation_accuracy", "best_validation_loss")
    return [n for n in names if result[n] == result["best_monitor_value"]]


def classes(ran: Ran) -> list[str]:
    return ran.json("result.json")["classes"]


def status(ran: Ran) -> int:
    return ran.said.status


def samples(ran: Ran) -> list[int] | None:
    """Returns the plan's samples to train, validate and test on."""
    found = re.search(r"^all classes +(.*)$", ran.said.out, re.MULTILINE)
    return [int(n) for n in found[1].split()] if found else None


def class_count(ran: Ran) -> int | None:
    """Returns the number of classes in the line about the data."""
    found = re.search(r"^data: (\d+) classes", ran.said.out, re.MULTILINE)
    return int(found[1]) if found else None


def parameters(ran: Ran) -> tuple[str, str]:
    """Returns all and trainable parameters of the plan's last stage."""
    found = re.findall(
        r"([\d,]+) parameters in all, ([\d,]+) trainable", ran.said.out
    )
    return found[-1]


def replicas(ran: Ran) -> tuple[str, str]:
    found = re.search(r"\((\w+), (\d+) replicas?\)", ran.said.out)
    return found[1], found[2]


def variable(
    workdir: pathlib.Path, name: str, stage: str = "feature_extract"
) -> np.ndarray:
    """Returns a variable of the stage's last checkpoint."""
    (found,) = (
        value
        for key, value in weights(workdir, stage).items()
        if key.startswith("model/") and key.split("/")[1].endswith(name)
    )
    return found


def conv1(ran: Ran) -> np.ndarray:
    return variable(ran.workdir, "conv1.Skernel")


def dtype_policies(ran: Ran) -> set[str]:
    """Returns the dtype policies of the stored backbone's convolutions."""
    stored = json.loads(ran.json("backbone.json")["architecture"])
    return {
        layer["config"]["dtype"]["config"]["name"]
        for layer in stored["config"]["layers"]
        if layer["class_name"] == "Conv2D"
    }


def conv1_values(ran: Ran) -> int:
    return len(np.unique(conv1(ran)))


def conv1_is_that_of_source(ran: Ran) -> bool:
    source = variable(ran.root / "source", "conv1.Skernel")
    return np.array_equal(conv1(ran), source)


def seeds_of_head(ran: Ran) -> list[int]:
    """Returns the seeds whose initial head the run ended with."""
    kernel = variable(ran.workdir, "head.Skernel")
    return [
        seed
        for seed in (0, 3)
        if np.array_equal(
            kernel,
            make_classifier(
                tiny_backbone(), pixels="tf", num_classes=3, seed=seed
            ).head.kernel.numpy(),
        )
    ]


def bias_after_one_step(ran: Ran) -> float:
    """Returns the learning rate: the length of Adam's first step, from 0."""
    return np.abs(variable(ran.workdir, "head.Sbias")).max()


def step_of_source(ran: Ran) -> list[int]:
    """Returns the checkpoints of `source` that the head nearly equals."""
    bias = variable(ran.workdir, "head.Sbias")
    folder = ran.root / "source/checkpoints/feature_extract"
    found = []
    for step, which in ((3, "best"), (6, "last")):
        reader = tf.train.load_checkpoint(str(folder / which / f"ckpt-{step}"))
        (key,) = (
            key
            for key in reader.get_variable_to_shape_map()
            if key.startswith("model/") and "head.Sbias" in key
        )
        if np.allclose(bias, reader.get_tensor(key), atol=1e-6):
            found.append(step)
    return found


def momentum_norm(ran: Ran) -> float:
    """Returns the norm of the momentum: after one step 0.1 x gradient."""
    slots = [
        value
        for key, value in weights(ran.workdir, "feature_extract").items()
        if key.startswith("slots/") and "momentum" in key
    ]
    assert len(slots) == 2
    return float(np.sqrt(sum(np.sum(np.square(s)) for s in slots)))


def slot_kinds(ran: Ran) -> set[str]:
    """Returns what the optimizer stores of each variable."""
    return {
        key.split("/")[1].rpartition("_")[2]
        for key in weights(ran.workdir, "feature_extract")
        if key.startswith("slots/") and "head" in key
    }


def move_from_nine_tenths(ran: Ran) -> float:
    """Returns how far the head's kernel is from 0.9 x its initial value."""
    initial = make_classifier(
        tiny_backbone(), pixels="tf", num_classes=3, seed=0
    ).head.kernel.numpy()
    moved = variable(ran.workdir, "head.Skernel") - 0.9 * initial
    return float(np.abs(moved).max())


def move_of_conv3(ran: Ran) -> float:
    """Returns how far finetune has moved an entry of conv3."""
    after, before = (
        variable(ran.workdir, "conv3.Skernel", stage)
        for stage in ("finetune", "feature_extract")
    )
    return float(np.abs(after - before).max())


def first_rate(ran: Ran) -> float:
    return _rates(ran)[0]


def last_rate(ran: Ran) -> float:
    return _rates(ran)[-1]


def epochs_trained(ran: Ran) -> int:
    return len(_epochs(ran))


def steps_per_epoch(ran: Ran) -> int:
    return _epochs(ran)[0]["step"]


def _rates(ran: Ran) -> list[float]:
    """Returns the learning rate of the last step of each epoch."""
    return [line["learning_rate"] for line in _epochs(ran)]


def _epochs(ran: Ran) -> list[dict[str, Any]]:
    """Returns the metrics of each epoch that was trained."""
    return [
        line
        for line in lines(ran.workdir, "metrics.jsonl")
        if "learning_rate" in line and line["span"] == "epoch"
    ]


def first_backbone_shape(ran: Ran) -> list[int]:
    text = json.dumps(ran.json("backbone.json")["architecture"])
    found = re.search(r"batch_shape\W+null, (\d+), (\d+), 3\]", text)
    return [int(found[1]), int(found[2])]


def shows_augmentation(ran: Ran) -> bool:
    (path,) = (ran.workdir / "tensorboard/train").iterdir()
    return "augmentation" in {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }


def saves(ran: Ran) -> list[int]:
    return [
        line["step"]
        for line in lines(ran.workdir, "events.jsonl")
        if line["event"] == "save"
    ]


def kept_checkpoints(ran: Ran) -> list[str]:
    folder = ran.workdir / "checkpoints/feature_extract/last"
    return sorted(p.stem for p in folder.glob("*.index"))


def logged(ran: Ran) -> list[int]:
    return [
        line["step"]
        for line in lines(ran.workdir, "metrics.jsonl")
        if line["span"] == "steps"
    ]


def cached_segments(ran: Ran) -> int:
    """Returns the number of cached segments in the default place."""
    return len(list(ran.cache.glob("transfer-trainer-cache/*/rows-*")))


def cached_dtypes(ran: Ran) -> set[str]:
    """Returns the dtypes of the cached rows: of features and of images."""
    found = set()
    for path in ran.cache.glob("transfer-trainer-cache/*/rows-*/segment.json"):
        found |= set(re.findall(r'"(float\d+|uint8)"', path.read_text()))
    return found


def caches_images(ran: Ran) -> bool:
    return "images" in ran.did.computed


def evaluated_step(ran: Ran) -> str:
    return re.search(r"at step (\d+) ", ran.said.out)[1]


def finished(ran: Ran) -> bool:
    return (ran.workdir / "result.json").exists()


def own_workdir(ran: Ran) -> bool:
    return ran.said.out.startswith("workdir: runs/photos-MobileNetV2-")


def looks_below_root(ran: Ran) -> bool:
    return f"not prepared under {ran.root}/tfds/" in ran.said.err


def refused_backbone(ran: Ran) -> bool:
    return "no such backbone" in ran.said.err


def predicted_files(ran: Ran) -> int:
    return len(ran.said.out.splitlines()) - 1


def predicted_columns(ran: Ran) -> int:
    return len(ran.said.out.splitlines()[0].split(","))


def written(ran: Ran) -> bool:
    return (ran.root / "rows.csv").exists()


def planned_models(ran: Ran) -> list[str]:
    return re.findall(r"== model (\d), seed 0", ran.said.out)


def trained_models(ran: Ran) -> list[str]:
    return re.findall(r"== (model \d, seed \d)", ran.said.out)
