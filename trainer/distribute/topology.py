"""Finds the processes of a job and the index of this process.

Reads only environment variables; TensorFlow is not imported. The first match
wins:

1. TF_CONFIG, as defined by TensorFlow.
2. TRAINER_WORKERS=HOST:PORT,HOST:PORT,... and JOB_COMPLETION_INDEX.
   TRAINER_WORKERS is the same for all processes and begins with the chief.
   JOB_COMPLETION_INDEX counts from 0; Kubernetes sets it in each pod of an
   Indexed Job or JobSet.
3. A Slurm step of several tasks.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config.fields import AUTO, EVALUATE, TRAINING_STAGES
from trainer.errors import UsageError

MULTI_WORKER = "multi_worker"
_STAGES = (*TRAINING_STAGES, EVALUATE)
_WORKERS, _INDEX = "TRAINER_WORKERS", "JOB_COMPLETION_INDEX"
_SHOWN_CHARS = 200
_JOBS = ("chief", "worker")
_EXAMPLE = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]},'
    ' "task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """The processes of a job.

    Attributes:
      index: index of this process, from 0; process 0 is the chief, the only
        process that writes and prints.
      count: number of processes.
      addresses: HOST:PORT of each process, in order; empty if only Slurm
        knows them, or if there is one process.
      source: TF_CONFIG, TRAINER_WORKERS or Slurm; "" for one process.
    """

    index: int = 0
    count: int = 1
    addresses: tuple[str, ...] = ()
    source: str = ""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes and prints."""
        return self.index == 0


def find_topology(
    strategy: str, stage: str, environment: Mapping[str, str] = os.environ
) -> Topology:
    """Returns the processes that share the run.

    Args:
      strategy: the value of `--strategy`. `auto` and `multi_worker` use the
        processes that the environment names; other values use one process.
      stage: the value of `--stage`.
      environment: environment variables of the process.

    Raises:
      UsageError: the environment is invalid; it names no processes, and the
        strategy is multi_worker; or it names several, and the stage uses one.
    """
    if strategy not in (AUTO, MULTI_WORKER):
        return Topology()
    # TF_CONFIG comes first: if set by hand inside Slurm, it is intentional.
    found = (
        _from_tf_config(environment)
        or _from_workers(environment)
        or _from_slurm(environment)
    )
    if found is None:
        if strategy == MULTI_WORKER:
            raise UsageError(
                "--strategy=multi_worker: neither TF_CONFIG nor"
                f" {_WORKERS} is set, and this is not a Slurm step of several"
                " tasks; set one of them, start with srun, or give"
                " --strategy=auto"
            )
        return Topology()
    if found.count > 1 and stage not in _STAGES:
        raise UsageError(
            f"--strategy={strategy}: {found.source} names {found.count}"
            f" processes, but --stage={stage} uses one; start it once without"
            f" them, or use them for {', '.join(_STAGES)}"
        )
    return found


def _from_tf_config(environment: Mapping[str, str]) -> Topology | None:
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        values = json.loads(text)
    except ValueError:
        raise _illegal(text, "not JSON") from None
    cluster = values.get("cluster") if isinstance(values, dict) else None
    if not cluster:
        return None
    addresses = _addresses(text, cluster)
    try:
        job, number = values["task"]["type"], int(values["task"]["index"])
        own = cluster[job][number] if number >= 0 else None
    except (KeyError, IndexError, TypeError, ValueError):
        own = None
    if own is None:
        raise _illegal(text, "its task is not in its cluster")
    return Topology(
        index=addresses.index(own),
        count=len(addresses),
        addresses=addresses,
        source="TF_CONFIG",
    )


def _addresses(text: str, cluster: Any) -> tuple[str, ...]:
    """Returns the addresses of a cluster, the chief's first."""
    if not isinstance(cluster, dict) or not set(cluster) <= set(_JOBS):
        raise _illegal(text, f"its cluster has jobs besides {_JOBS}")
    found: list[str] = []
    for job in _JOBS:
        found += cluster.get(job, ())
    problem = _problem(found)
    if problem:
        raise _illegal(text, problem)
    return tuple(found)


def _problem(addresses: Sequence[Any]) -> str:
    """Returns what is wrong with the addresses; "" if they are valid."""
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            return f"{address!r} is not HOST:PORT"
    if len(set(addresses)) < len(addresses):
        return "it names an address twice"
    return ""


def _illegal(text: str, what: str) -> UsageError:
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
    return UsageError(f"TF_CONFIG={shown!r}: {what}; give {_EXAMPLE}")


def _from_workers(environment: Mapping[str, str]) -> Topology | None:
    text = environment.get(_WORKERS, "").strip()
    if not text:
        return None
    addresses = tuple(part.strip() for part in text.split(","))
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
    problem = _problem(addresses)
    if problem:
        raise UsageError(
            f"{_WORKERS}={shown!r}: {problem}; give HOST:PORT,HOST:PORT,..."
        )
    # A single process needs no index.
    index = environment.get(_INDEX, "0" if len(addresses) == 1 else "").strip()
    if not index.isdecimal() or int(index) >= len(addresses):
        raise UsageError(
            f"{_INDEX}={index!r}: must be the index of this process in"
            f" {_WORKERS}, 0 to {len(addresses) - 1}; Kubernetes sets it in"
            " the pods of an Indexed Job"
        )
    return Topology(
        index=int(index),
        count=len(addresses),
        addresses=addresses,
        source=_WORKERS,
    )


def _from_slurm(environment: Mapping[str, str]) -> Topology | None:
    # The number of tasks of the step, not of the job: a batch script is one
    # process, even if its job has many tasks.
    count = environment.get("SLURM_STEP_NUM_TASKS", "1")
    index = environment.get("SLURM_PROCID", "")
    if not (count.isdigit() and index.isdigit()) or int(count) <= 1:
        return None
    return Topology(index=int(index), count=int(count), source="Slurm")
