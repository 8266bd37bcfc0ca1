"""Tests of the launch scripts: programs, hosts, arguments and exit status."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.launch.programs import ROOT, Programs
from tests.support.jobs import free_ports
from trainer.distribute.topology import find_topology

# Arguments that a shell would change if a script did not quote them.
SAID = [
    "--stage=finetune",
    '--dataset=/my photos/it\'s "here"',
    "--workdir=/runs/$HOME `id` *;x&\\",
    "--backbone_args=alpha=0.35,dropout=0.1",
    "--seed=",
]
PLACE = ("my-tpu", "us-central1-a", "--")
POD = {"RUNTIME_VERSION": "tpu-vm-tf-2.20.0-pod-pjrt"}
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("launch/*.sh"),
        *ROOT.glob("launch/*.sbatch"),
        *ROOT.glob("tools/*.sh"),
        ROOT / ".ci/run",
        ROOT / "tools/check",
    )
)


@pytest.fixture
def programs(tmp_path):
    return Programs(tmp_path)


@pytest.fixture
def addresses():
    return [f"h{i}:{port}" for i, port in enumerate(free_ports(2))]


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_accepts_each_script(script):
    # shellcheck is installed in the same folder as the tests' python.
    left = subprocess.run(
        ["shellcheck", script],
        cwd=ROOT,
        env={"PATH": f"{os.path.dirname(os.sys.executable)}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (left.returncode, left.stdout, left.stderr) == (0, "", "")
    assert os.access(ROOT / script, os.X_OK) or script.endswith(".sbatch")


def test_each_host_starts_one_process(programs, addresses):
    status, err = programs.run("launch/hosts.sh", *addresses, "--", *SAID)
    assert (status, err) == (0, "")
    hosts = [call.arguments for call in programs.calls("ssh")]
    assert sorted(h[:3] for h in hosts) == [
        ["-o", "BatchMode=yes", "h0"],
        ["-o", "BatchMode=yes", "h1"],
    ]
    trained = programs.training()
    found = [find_topology("auto", "finetune", c.environment) for c in trained]
    assert sorted(t.index for t in found) == [0, 1]
    for call, topology in zip(trained, found, strict=True):
        assert topology.addresses == tuple(addresses)
        assert call.arguments == ["main.py", "--strategy=multi_worker", *SAID]
        assert call.environment["PWD"] == str(ROOT)


def test_hosts_signal_the_first_and_wait_for_all(programs, addresses):
    process = programs.start(
        "launch/hosts.sh", *addresses, "--", *SAID, WAITS="1", LEAVES="143"
    )
    assert programs.stop(process, trained=2) == 143
    (stop,) = (
        call.arguments
        for call in programs.calls("ssh")
        if "kill" in call.arguments[-1]
    )
    assert stop[2] == "h0"


def test_hosts_end_with_the_worst_status(programs, addresses):
    status, _ = programs.run(
        "launch/hosts.sh", *addresses, "--", *SAID, LEAVES="1"
    )
    assert status == 1


@pytest.mark.parametrize(
    "said",
    [[], ["a:1", "b:1"], ["a:1", "b:1", "--"], ["a:1", "--", "--seed=1"]],
)
def test_hosts_rejects_wrong_arguments(programs, said):
    status, err = programs.run("launch/hosts.sh", *said)
    assert status == 2
    assert err.startswith("usage: ")
    assert not programs.calls("ssh")


@pytest.mark.parametrize("leaves", ["0", "1", "143"])
def test_slurm_requeues_a_job_that_was_saved(programs, leaves):
    status, _ = programs.run(
        "launch/slurm.sbatch", *SAID, SLURM_JOB_ID="7", LEAVES=leaves
    )
    assert status == int(leaves)
    (call,) = programs.training()
    assert call.arguments == ["main.py", "--strategy=multi_worker", *SAID]
    (srun,) = programs.calls("srun")
    assert srun.arguments[0] == "--kill-on-bad-exit=1"
    again = [call.arguments for call in programs.calls("scontrol")]
    assert again == ([["requeue", "7"]] if leaves == "143" else [])


def verbs(programs: Programs) -> list[str]:
    found = []
    for call in programs.calls("gcloud"):
        assert call.arguments[:3] == ["compute", "tpus", "tpu-vm"]
        assert call.arguments.count("--zone=us-central1-a") == 1
        found.append(call.arguments[3])
    return found


def test_a_missing_tpu_vm_is_created_and_trained_on(programs):
    status, err = programs.run(
        "launch/tpu_vm.sh", *PLACE, *SAID, NO_TPU="1", LEAVES="1"
    )
    assert status == 1
    assert err == (
        "gcloud compute tpus tpu-vm delete my-tpu --zone=us-central1-a\n"
    )
    assert verbs(programs) == ["describe", "create", "scp", "ssh", "ssh"]
    create, copy, setup = (
        call.arguments[4:] for call in programs.calls("gcloud")[1:4]
    )
    assert create[:3] == [
        "my-tpu",
        "--accelerator-type=v5litepod-8",
        "--version=v2-alpha-tpuv5-lite",
    ]
    assert copy[0].endswith("/trainer.tar.gz")
    assert copy[1:3] == ["my-tpu:", "--worker=all"]
    assert "--worker=all" in setup
    (script,) = (a for a in setup if a.startswith("--command="))
    assert subprocess.run(["bash", "-n", "-c", script[10:]]).returncode == 0
    (call,) = programs.training()
    assert call.arguments == ["main.py", "--strategy=tpu", "--tpu=local", *SAID]
    assert call.environment["PWD"].endswith("/home/trainer")
    for name, value in {
        "TPU_NAME": "local",
        "PJRT_DEVICE": "TPU",
        "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
        "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": "/fake/libtpu.so",
    }.items():
        assert call.environment[name] == value


def test_an_existing_tpu_vm_is_used(programs):
    status, _ = programs.run("launch/tpu_vm.sh", *PLACE, *SAID)
    assert status == 0
    assert verbs(programs) == ["describe", "scp", "ssh", "ssh"]


def test_a_tpu_pod_is_set_up_on_all_hosts_and_trained_by_one(programs):
    status, _ = programs.run("launch/tpu_vm.sh", "--pod", *PLACE, *SAID, **POD)
    assert status == 0
    workers = [
        a
        for call in programs.calls("gcloud")
        for a in call.arguments
        if a.startswith("--worker=")
    ]
    assert workers == ["--worker=all", "--worker=all", "--worker=0"]
    setup = programs.calls("gcloud")[2].arguments[-2]
    assert setup.endswith(" && .venv/bin/pip install -q cloud-tpu-client")
    assert subprocess.run(["bash", "-n", "-c", setup[10:]]).returncode == 0
    (call,) = programs.training()
    assert call.arguments == [
        "main.py",
        "--strategy=tpu",
        "--tpu=my-tpu",
        *SAID,
    ]
    assert call.environment["TPU_NAME"] == "my-tpu"
    assert call.environment["TPU_LOAD_LIBRARY"] == "0"
    assert "PJRT_DEVICE" not in call.environment


def test_tpu_vm_passes_on_a_signal(programs):
    process = programs.start(
        "launch/tpu_vm.sh", *PLACE, *SAID, WAITS="1", LEAVES="143"
    )
    assert programs.stop(process, trained=1) == 143


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([], "usage: "),
        (["my-tpu", "us-central1-a", "--"], "usage: "),
        (["my-tpu", "--", "--seed=1", "x"], "usage: "),
        (["--pods", "my-tpu", "--", "--seed=1"], "usage: "),
        (
            ["--pod", *PLACE, *SAID],
            "error: RUNTIME_VERSION=v2-alpha-tpuv5-lite:",
        ),
    ],
)
def test_tpu_vm_rejects_wrong_arguments(programs, said, what):
    status, err = programs.run("launch/tpu_vm.sh", *said)
    assert status == 2
    assert err.startswith(what)
    assert err.count("\n") == 1
    assert not programs.calls("gcloud")
