"""The fields of Vertex AI's CustomJobSpec that launch/vertex.yaml uses.

Written from its REST reference (v1, CustomJobSpec), which has many more fields.
"""

from __future__ import annotations

from typing import Any


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT}
_POOL = _object(
    ["replicaCount", "machineSpec", "containerSpec"],
    # An int64, which JSON may write as text.
    replicaCount={"type": "integer", "minimum": 1},
    machineSpec=_object(
        ["machineType"],
        machineType=_TEXT,
        acceleratorType={
            "enum": [
                "NVIDIA_TESLA_P100",
                "NVIDIA_TESLA_V100",
                "NVIDIA_TESLA_P4",
                "NVIDIA_TESLA_T4",
                "NVIDIA_L4",
                "NVIDIA_TESLA_A100",
                "NVIDIA_A100_80GB",
                "NVIDIA_H100_80GB",
                "NVIDIA_H100_MEGA_80GB",
                "NVIDIA_H200_141GB",
            ]
        },
        acceleratorCount={"type": "integer", "minimum": 1},
    ),
    containerSpec=_object(
        ["imageUri"],
        imageUri=_TEXT,
        command=_TEXTS,
        args=_TEXTS,
        env={
            "type": "array",
            "maxItems": 100,
            "items": _object(["name", "value"], name=_TEXT, value=_TEXT),
        },
    ),
)
CUSTOM_JOB_SPEC = _object(
    ["workerPoolSpecs"],
    workerPoolSpecs={
        "type": "array",
        "items": _POOL,
        "minItems": 1,
        # Chief, workers, parameter servers, evaluators.
        "maxItems": 4,
    },
    scheduling=_object(
        [],
        timeout={"type": "string", "pattern": r"^\d+(\.\d{1,9})?s$"},
        restartJobOnWorkerRestart={"type": "boolean"},
        disableRetries={"type": "boolean"},
        strategy={"enum": ["STANDARD", "SPOT", "FLEX_START"]},
    ),
)
