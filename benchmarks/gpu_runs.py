"""Parts of `benchmarks.gpu` that run `main.py`.

This process uses no GPU, so that the memory is free for the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.determinism import draw_photos
from benchmarks.gpu import Settings
from benchmarks.gpu_lines import Lines, Part, run_part
from benchmarks.sides import our_flags, timed
from trainer.config.fields import IMAGENET
from trainer.model.backbones import find_backbone

_STAGES = ("feature_extract", "finetune")
_FACTS = ("devices", "replicas", "xla", "deterministic", "trunk_engine")
# Hides all GPUs from CUDA.
_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def _command(settings: Settings, workdir: Path, *flags: str) -> list[str]:
    """Returns `main.py` with the flags that all runs have, and `flags`."""
    dataset = settings.dataset
    if dataset is None:
        drawn = settings.workdir / "photos"
        if not drawn.exists():
            draw_photos(drawn, settings.images, settings.images // 2)
        dataset = str(drawn)
    weights, origin = settings.weights, settings.weights_origin
    if weights is None:
        weights, origin = _drawn_weights(settings)
    args = argparse.Namespace(
        dataset=dataset,
        weights=weights,
        weights_origin=origin,
        backbone=settings.backbone,
        backbone_args=settings.backbone_args,
        image_size=settings.image_size,
        batch_size=settings.batch_sizes[0],
        ours=flags,
    )
    return [
        sys.executable,
        *our_flags(
            args,
            f"--workdir={workdir}",
            "--log_every_steps=1",
        ),
    ]


def _drawn_weights(settings: Settings) -> tuple[str, str | None]:
    """Saves random weights whose features vary; returns file and origin.

    The features of --weights=none are almost 0, so that nothing is learned and
    any two runs look alike. Another process computes them, on the CPU.
    """
    file = str(settings.workdir / "live.weights.h5")
    if not os.path.exists(file):
        code = (
            "import sys; from benchmarks.gpu_devices import save_live_weights;"
            " save_live_weights(*sys.argv[1:])"
        )
        command = [sys.executable, "-c", code, file, settings.backbone]
        command += [settings.backbone_args, str(settings.image_size)]
        env = {**os.environ, **_ON_CPU}
        subprocess.run(command, check=True, env=env, stdout=sys.stderr)
    known = find_backbone(settings.backbone)
    return file, IMAGENET if known.has_imagenet_form else None


def _run(
    settings: Settings,
    name: str,
    *flags: str,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs `main.py` to the end, in the workdir of that name.

    Returns:
      Seconds and peak memory of the process, and the results of the run.
    """
    workdir = settings.workdir / name
    wall, cpu, peak = timed(
        _command(settings, workdir, *flags),
        settings.workdir / f"{name}.run.log",
        {**os.environ, **(env or {})},
    )
    result = json.loads((workdir / "result.json").read_text())
    config = json.loads((workdir / "config.json").read_text())
    return {
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "host_peak_mib": round(peak),
        "test_accuracy": result["test_accuracy"],
        "test_loss": result["test_loss"],
        "test_examples": result["test_examples"],
        "audit": result.get("audit"),
        **{name: config["environment"][name] for name in _FACTS},
        "images_per_second": _step_rates(workdir, settings.batch_sizes[0]),
    }


def _finetune(
    settings: Settings,
    name: str,
    *flags: str,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Trains a head and fine-tunes, with an own cache; see `_run`."""
    return _run(settings, name, *_two_stages(settings, name), *flags, env=env)


def _two_stages(settings: Settings, name: str) -> list[str]:
    return [
        "--stage=finetune",
        f"--head_epochs={settings.epochs}",
        f"--epochs={settings.epochs}",
        f"--cache_dir={settings.workdir / name}.cache",
    ]


def _step_rates(workdir: Path, batch_size: int) -> dict[str, float]:
    """Returns the median images/s of the training steps of each stage."""
    rates: dict[str, list[float]] = {}
    for text in (workdir / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        if (line["split"], line["span"]) == ("train", "steps"):
            found = line["times"]["images_per_second"]
            rates.setdefault(line["stage"], []).append(found)
    return {k: round(statistics.median(v), 1) for k, v in rates.items()}


def train(settings: Settings, lines: Lines) -> None:
    """Fine-tunes with the same flags on the GPU and on the CPU."""
    cases: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "default": ([], {}),
        "on the CPU": ([], _ON_CPU),
        "bfloat16": (["--precision=bfloat16"], {}),
        "XLA off": (["--xla=off"], {}),
    }
    if settings.small:
        cases = {"default": cases["default"]}
    for what, (flags, env) in cases.items():

        def measure(
            name: str = f"train {what}".replace(" ", "_"),
            flags: Sequence[str] = flags,
            env: Mapping[str, str] = env,
        ) -> Mapping[str, Any]:
            return _finetune(settings, name, *flags, env=env)

        lines.case(f"train, {what}", measure)


def saved_arrays(workdir: Path) -> dict[str, np.ndarray]:
    """Returns weights and slots of the last checkpoint of each stage."""
    arrays = {}
    for stage in _STAGES:
        folder = workdir / "checkpoints" / stage / "last"
        prefix = tf.train.latest_checkpoint(str(folder))
        if prefix is None:
            raise FileNotFoundError(f"{folder}: no checkpoint")
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            if name.startswith(("model/", "slots/")):
                arrays[f"{stage}/{name}"] = reader.get_tensor(name)
    return arrays


def same_runs(one: Path, two: Path) -> dict[str, Any]:
    """Compares the results of two runs bit for bit."""
    first, second = saved_arrays(one), saved_arrays(two)
    if first.keys() != second.keys():
        raise ValueError(f"{two}: other variables than in {one}")
    changed = [k for k in first if first[k].tobytes() != second[k].tobytes()]
    name = "predictions.csv"
    return {
        "same_bits": not changed,
        "arrays": len(first),
        "changed_arrays": len(changed),
        "largest_difference": max(
            (float(np.abs(first[k] - second[k]).max()) for k in changed),
            default=0.0,
        ),
        "same_predictions": (one / name).read_bytes()
        == (two / name).read_bytes(),
    }


def determinism(settings: Settings, lines: Lines) -> None:
    """Runs the same command twice, with --deterministic=on and off."""
    for deterministic in ("on",) if settings.small else ("on", "off"):

        def measure(deterministic: str = deterministic) -> Mapping[str, Any]:
            names = [f"{deterministic}{number}" for number in (1, 2)]
            flag = f"--deterministic={deterministic}"
            runs = [_finetune(settings, name, flag) for name in names]
            one, two = (settings.workdir / name for name in names)
            walls = [run["wall_seconds"] for run in runs]
            return {**same_runs(one, two), "wall_seconds": walls}

        lines.case(f"determinism, --deterministic={deterministic}", measure)


def compiled_steps(folder: Path) -> list[str]:
    """Returns the step functions that XLA compiled, in order.

    Args:
      folder: the folder of `--xla_dump_to`.
    """
    found = [
        re.match(r"module_(\d+)\..*?(train_step|evaluation_step)", path.name)
        for path in folder.glob("*.before_optimizations.txt")
    ]
    numbered = [(int(m[1]), m[2]) for m in found if m]
    return [name for _, name in sorted(numbered)]


def programs(settings: Settings, lines: Lines) -> None:
    """Counts the programs that XLA compiles in a run of two stages."""

    def measure() -> Mapping[str, Any]:
        dump = settings.workdir / "dump"
        flags = [
            os.environ.get("XLA_FLAGS", ""),
            f"--xla_dump_to={dump}",
            "--xla_dump_hlo_module_re=.*_step_.*",
        ]
        env = {"XLA_FLAGS": " ".join(flags).strip()}
        # On a CPU XLA makes the step slow, so it is off by default.
        run = _finetune(settings, "programs", "--xla=on", env=env)
        found = compiled_steps(dump)
        replicas = run["replicas"]
        stage = ["train_step"] * replicas + ["evaluation_step"] * replicas
        expected = stage * len(_STAGES)
        return {
            "replicas": replicas,
            "programs": found,
            "as_expected": found == expected,
            "wall_seconds": run["wall_seconds"],
        }

    lines.case("programs, both stages", measure)


def exact(settings: Settings, lines: Lines) -> None:
    """Solves the head exactly, then again with the cached features."""
    flags = ["--stage=feature_extract", "--head_solver=lbfgs"]
    flags.append(f"--cache_dir={settings.workdir / 'exact.cache'}")
    for what in ("empty cache", "warm cache"):

        def measure(name: str = what.replace(" ", "_")) -> Mapping[str, Any]:
            return _run(settings, f"exact_{name}", *flags)

        lines.case(f"exact, {what}", measure)


def resume(settings: Settings, lines: Lines) -> None:
    """Kills a run in its second stage, and continues it."""

    def measure() -> Mapping[str, Any]:
        flags = ["--deterministic=on", "--checkpoint_every_steps=1"]
        # A run of `determinism`, if there is one: saving changes no bits.
        whole = settings.workdir / "on1"
        if not (whole / "result.json").exists():
            _finetune(settings, whole.name, *flags)
        killed = settings.workdir / "killed"
        step = _killed(settings, "killed", flags)
        _finetune(settings, "killed", *flags)
        same = same_runs(whole, killed)
        return {"killed_after_step": step, **same}

    lines.case("resume, --deterministic=on", measure)


def _killed(settings: Settings, name: str, flags: Sequence[str]) -> int:
    """Starts a run, kills it after a checkpoint; returns its step."""
    workdir = settings.workdir / name
    saves = workdir / "checkpoints" / "finetune" / "last"
    with (settings.workdir / "killed.first.log").open("w") as log:
        process = subprocess.Popen(
            _command(settings, workdir, *_two_stages(settings, name), *flags),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None and not list(saves.glob("ckpt-*.index")):
            time.sleep(0.002)
        process.kill()
        process.wait()
    if (workdir / "result.json").exists():
        raise RuntimeError(f"{workdir}: the run ended before it was killed")
    names = [path.stem for path in saves.glob("ckpt-*.index")]
    return max(int(name.rpartition("-")[2]) for name in names)


PARTS: Mapping[str, Part] = {
    "train": train,
    "determinism": determinism,
    "programs": programs,
    "exact": exact,
    "resume": resume,
}

if __name__ == "__main__":
    sys.exit(run_part(PARTS, sys.argv[1:]))
