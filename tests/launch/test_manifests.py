"""Tests of the launch files for Kubernetes, Vertex AI, Docker and pip."""

from __future__ import annotations

import configparser
import copy
import json
import re

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.launch.programs import ROOT
from tests.launch.vertex_schema import CUSTOM_JOB_SPEC
from trainer.config.fields import FIELDS
from trainer.distribute.topology import find_topology

LAUNCH = ROOT / "launch"
# The oldest version that launch/kubernetes.yaml supports, and the newest one.
VERSIONS = ("1.31", kubernetes_validate.latest_version())


def flag_names(arguments: list[str]) -> set[str]:
    return {a.removeprefix("--").partition("=")[0] for a in arguments}


@pytest.fixture
def service_and_job():
    return list(yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text()))


@pytest.fixture
def vertex():
    return yaml.safe_load((LAUNCH / "vertex.yaml").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_kubernetes_file_is_valid(service_and_job, version):
    for document in service_and_job:
        kubernetes_validate.validate(document, version, strict=True)
    wrong = copy.deepcopy(service_and_job[1])
    wrong["spec"]["podFailurePolicy"]["rules"][0]["onExitCode"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_kubernetes_pods_know_each_other(service_and_job):
    service, job = service_and_job
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    environment = {e["name"]: e["value"] for e in container["env"]}
    port = container["ports"][0]["containerPort"]
    assert spec["completions"] == spec["parallelism"]
    assert environment["TRAINER_WORKERS"].split(",") == [
        f"{name}-{index}.{pod['subdomain']}:{port}"
        for index in range(spec["completions"])
    ]
    for index in range(spec["completions"]):
        # The Job sets this variable in each pod.
        own = {**environment, "JOB_COMPLETION_INDEX": str(index)}
        found = find_topology("multi_worker", "finetune", own)
        assert (found.index, found.count) == (index, spec["completions"])
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["clusterIP"] == "None"
    assert flag_names(container["args"]) <= set(FIELDS)


@pytest.mark.parametrize(
    ("status", "disrupted", "action"),
    [
        (2, False, "FailJob"),
        (143, True, "Ignore"),
        (137, True, "Ignore"),
        (143, False, "Ignore"),
        (1, False, "Count"),
        (137, False, "Count"),
    ],
)
def test_the_exit_status_decides_what_kubernetes_does(
    service_and_job, status, disrupted, action
):
    """The first matching rule applies; without one, the failure is counted."""
    found = "Count"
    for rule in reversed(
        service_and_job[1]["spec"]["podFailurePolicy"]["rules"]
    ):
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["operator"] == "In"
            fits = status in rule["onExitCodes"]["values"]
        else:
            (condition,) = rule["onPodConditions"]
            assert condition == {"type": "DisruptionTarget", "status": "True"}
            fits = disrupted
        found = rule["action"] if fits else found
    assert found == action


def test_the_vertex_file_is_valid(vertex):
    jsonschema.validate(vertex, CUSTOM_JOB_SPEC)
    wrong = copy.deepcopy(vertex)
    wrong["workerPoolSpecs"][0]["machineSpec"]["machine_type"] = "n1"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, CUSTOM_JOB_SPEC)
    chief, workers = vertex["workerPoolSpecs"]
    assert chief["replicaCount"] == 1
    assert chief["containerSpec"] == workers["containerSpec"]
    assert chief["machineSpec"] == workers["machineSpec"]
    assert flag_names(chief["containerSpec"]["args"]) <= set(FIELDS)


@pytest.mark.parametrize(
    ("job", "number", "index"), [("chief", 0, 0), ("worker", 1, 2)]
)
def test_the_tf_config_of_vertex_is_understood(job, number, index):
    """It has more fields than TensorFlow defines."""
    said = {
        "cluster": {
            "chief": ["cmle-training-workerpool0-1d969d3ba6-0:2222"],
            "worker": [
                "cmle-training-workerpool1-1d969d3ba6-0:2222",
                "cmle-training-workerpool1-1d969d3ba6-1:2222",
            ],
        },
        "environment": "cloud",
        "task": {"type": job, "index": number, "trial": ""},
        "job": '{"python_module":"","package_uris":[],"job_args":[]}',
    }
    environment = {"TF_CONFIG": json.dumps(said), "CLUSTER_SPEC": "{}"}
    topology = find_topology("multi_worker", "finetune", environment)
    assert (topology.index, topology.count) == (index, 3)


def test_tpu_requirements_match_those_of_the_package():
    """They differ only in tensorflow and its replacement."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = _lines(setup["options"]["install_requires"])
    found = _lines((LAUNCH / "requirements-tpu.txt").read_text())
    replaced = {line for line in wanted if re.match(r"tensorflow[<>=]", line)}
    assert len(replaced) == 1
    ours = {
        line for line in found if re.match(r"(tensorflow-tpu|libtpu)=", line)
    }
    assert len(ours) == 2
    links = {line for line in found if line.startswith("--find-links ")}
    assert len(links) == 1
    assert found - ours - links == wanted - replaced


def test_the_image_contains_what_it_runs():
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    copied = [
        name
        for line in lines
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
    ]
    for name in copied:
        assert (ROOT / name).exists(), name
    assert {"main.py", "flags.py", "trainer", "setup.cfg"} <= set(copied)


def _lines(text: str) -> set[str]:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {line for line in lines if line}
