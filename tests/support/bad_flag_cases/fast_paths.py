"""Refused flags of the fast paths."""

from __future__ import annotations

from tests.support.bad_flag_cases.case import (
    USAGE,
    Case,
    evaluating,
)

FAST_PATHS = (
    Case(
        name="trunk engine",
        flags={"trunk_engine": "lite"},
        status=USAGE,
        words=("--trunk_engine='lite'", "auto, step, graph, litert, device"),
    ),
    *(
        Case(
            name=f"{engine} engine under XLA",
            flags={"trunk_engine": engine, "xla": "on"},
            status=USAGE,
            words=(
                f"--trunk_engine={engine}: not possible here",
                "XLA compiles the frozen layers (--xla=off)",
                "give auto, device or step",
            ),
        )
        for engine in ("graph", "litert")
    ),
    Case(
        name="engine in bfloat16",
        flags={"trunk_engine": "graph", "precision": "bfloat16"},
        status=USAGE,
        words=(
            "--trunk_engine=graph: not possible here",
            "it needs --precision=float32, not bfloat16",
            "give auto, device or step",
        ),
    ),
    Case(
        name="feature dtype",
        flags={"feature_dtype": "float64"},
        status=USAGE,
        words=("--feature_dtype='float64'", "float32, float16"),
    ),
    Case(
        name="feature dtype where the step does all",
        flags={"feature_dtype": "float16", "trunk_engine": "step"},
        status=USAGE,
        words=(
            "--feature_dtype=float16: here the step computes all layers",
            "--trunk_engine=graph",
        ),
    ),
    Case(
        name="quick gradients",
        flags={"quick_gradients": "yes"},
        status=USAGE,
        words=("--quick_gradients='yes'", "auto, on, off"),
    ),
    Case(
        name="quick gradients under XLA",
        flags={"quick_gradients": "on", "xla": "on"},
        status=USAGE,
        words=("--quick_gradients=on: only possible for float32", "off"),
    ),
    Case(
        name="a warp that XLA cannot compile",
        flags={"augment_kernel": "projective", "xla": "on"},
        status=USAGE,
        words=(
            "--augment_kernel=projective: XLA cannot compile it",
            "give gather, or --xla=off",
        ),
    ),
    Case(
        name="augment kernel",
        flags={"augment_kernel": "nearest"},
        status=USAGE,
        words=("--augment_kernel='nearest'", "auto, projective, gather"),
    ),
    Case(
        name="trunk block",
        flags={"trunk_block": -1},
        status=USAGE,
        words=("--trunk_block=-1", "must be a whole number >= 0"),
    ),
    Case(
        name="cache",
        flags={"cache": "tape"},
        status=USAGE,
        words=("--cache='tape'", "auto, ram, disk, off"),
    ),
    Case(
        name="cache in memory",
        flags={"cache_ram_mib": -5},
        status=USAGE,
        words=("--cache_ram_mib=-5", "must be a whole number of MiB >= 0"),
    ),
    Case(
        name="cache on disk",
        flags={"cache_disk_mib": -1},
        status=USAGE,
        words=("--cache_disk_mib=-1", "must be a whole number of MiB >= 0"),
    ),
    Case(
        name="augment kernel of an evaluation",
        flags=evaluating("{root}/run", augment_kernel="gather"),
        status=USAGE,
        words=("--augment_kernel",),
    ),
)
