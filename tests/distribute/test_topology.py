"""Tests of finding the processes of a job from environment variables."""

from __future__ import annotations

import dataclasses
import json

import pytest

from trainer.config.fields import STAGES
from trainer.distribute.topology import Topology, find_topology
from trainer.errors import UsageError

A, B, C = "a:2222", "b:2222", "[::1]:2223"


def tf_config(cluster: dict, job: str = "worker", index: object = 0) -> dict:
    task = {"type": job, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def slurm(count: str, index: str) -> dict:
    return {"SLURM_STEP_NUM_TASKS": count, "SLURM_PROCID": index}


def workers(index: str | None, *addresses: str) -> dict:
    """Returns the variables of a pod of an Indexed Job."""
    own = {} if index is None else {"JOB_COMPLETION_INDEX": index}
    return {"TRAINER_WORKERS": ",".join(addresses), **own}


def workers_found(index: int, *addresses: str) -> Topology:
    return dataclasses.replace(
        found(index, *addresses), source="TRAINER_WORKERS"
    )


def found(index: int, *addresses: str) -> Topology:
    return Topology(
        index=index,
        count=len(addresses),
        addresses=addresses,
        source="TF_CONFIG",
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Topology()),
        ({"TF_CONFIG": ""}, Topology()),
        ({"TF_CONFIG": "{}"}, Topology()),
        (tf_config({"worker": [A]}), found(0, A)),
        (tf_config({"worker": [A, B]}), found(0, A, B)),
        (tf_config({"worker": [A, B, C]}, index="2"), found(2, A, B, C)),
        # The chief is process 0, even if TF_CONFIG names it last.
        (tf_config({"worker": [B, C], "chief": [A]}), found(1, A, B, C)),
        (tf_config({"worker": [B], "chief": [A]}, "chief"), found(0, A, B)),
        (slurm("3", "2"), Topology(index=2, count=3, source="Slurm")),
        # A batch script, and an interactive step.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Topology()),
        (slurm("1", "0"), Topology()),
        (workers("0", A, B), workers_found(0, A, B)),
        (workers("2", A, B, C), workers_found(2, A, B, C)),
        (workers(" 1 ", f" {A}", B), workers_found(1, A, B)),
        (workers(None, A), workers_found(0, A)),
        # An Indexed Job of independent runs.
        ({"JOB_COMPLETION_INDEX": "1"}, Topology()),
        ({"TRAINER_WORKERS": "", "JOB_COMPLETION_INDEX": "1"}, Topology()),
        # Variables set by hand take precedence over the scheduler's.
        (slurm("3", "2") | workers("1", A, B), workers_found(1, A, B)),
        (workers("1", A, C) | tf_config({"worker": [A, B]}), found(0, A, B)),
        (slurm("3", "2") | tf_config({"worker": [A, B]}), found(0, A, B)),
    ],
)
def test_the_environment_names_the_processes(environment, expected):
    assert find_topology("auto", "finetune", environment) == expected
    assert expected.is_chief == (expected.index == 0)
    if expected.source:
        again = find_topology("multi_worker", "finetune", environment)
        assert again == expected
    for name in ("one_device", "mirrored", "tpu"):
        assert find_topology(name, "finetune", environment) == Topology()


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"TF_CONFIG": "{"}, "not JSON"),
        (tf_config({"worker": [A, B]}, index=2), "its task is not in its"),
        (tf_config({"worker": [A, B]}, index=-1), "its task is not in its"),
        (tf_config({"worker": [A, B]}, index="x"), "its task is not in its"),
        (tf_config({"worker": [A]}, "chief"), "its task is not in its"),
        ({"TF_CONFIG": json.dumps({"cluster": {"worker": [A]}})}, "its task"),
        (tf_config({"ps": [A], "worker": [B]}), "has jobs besides"),
        (tf_config({"worker": [A, A]}), "it names an address twice"),
        (tf_config({"worker": [A, "b"]}), "'b' is not HOST:PORT"),
        (tf_config({"worker": [A, "b:0"]}), "'b:0' is not HOST:PORT"),
        (tf_config({"worker": [A, "b:99999"]}), "is not HOST:PORT"),
    ],
)
def test_an_invalid_tf_config_is_rejected(environment, what):
    with pytest.raises(UsageError) as error:
        find_topology("auto", "finetune", environment)
    text = str(error.value)
    assert text.startswith(f"TF_CONFIG={environment['TF_CONFIG']!r}: ")
    assert what in text
    assert "\n" not in text
    assert text.endswith(
        '; give {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task":'
        ' {"type": "worker", "index": 0}}'
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            workers("0", A, "b"),
            "TRAINER_WORKERS='a:2222,b': 'b' is not HOST:PORT; give"
            " HOST:PORT,HOST:PORT,...",
        ),
        (
            workers("0", A, ""),
            "TRAINER_WORKERS='a:2222,': '' is not HOST:PORT; give"
            " HOST:PORT,HOST:PORT,...",
        ),
        (
            workers("0", A, A),
            "TRAINER_WORKERS='a:2222,a:2222': it names an address twice; give"
            " HOST:PORT,HOST:PORT,...",
        ),
        *(
            (
                workers(index, A, B),
                f"JOB_COMPLETION_INDEX={index or ''!r}: must be the index of"
                " this process in TRAINER_WORKERS, 0 to 1; Kubernetes sets it"
                " in the pods of an Indexed Job",
            )
            for index in (None, "", "x", "-1", "2")
        ),
    ],
)
def test_invalid_trainer_workers_are_rejected(environment, message):
    with pytest.raises(UsageError) as error:
        find_topology("auto", "finetune", environment)
    assert str(error.value) == message


def test_multi_worker_without_processes_is_rejected():
    with pytest.raises(UsageError) as error:
        find_topology("multi_worker", "finetune", {})
    assert str(error.value) == (
        "--strategy=multi_worker: neither TF_CONFIG nor TRAINER_WORKERS is"
        " set, and this is not a Slurm step of several tasks; set one of them,"
        " start with srun, or give --strategy=auto"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_some_stages_reject_several_processes(stage):
    several = tf_config({"worker": [A, B]})
    if stage in ("feature_extract", "finetune", "evaluate"):
        assert find_topology("auto", stage, several).count == 2
        return
    with pytest.raises(UsageError) as error:
        find_topology("auto", stage, several)
    assert str(error.value) == (
        f"--strategy=auto: TF_CONFIG names 2 processes, but --stage={stage}"
        " uses one; start it once without them, or use them for"
        " feature_extract, finetune, evaluate"
    )
    assert find_topology("auto", stage, tf_config({"worker": [A]})).count == 1
