"""Finds the TPU of this machine, and connects to a TPU."""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import socket
from collections.abc import Mapping, Sequence

import tensorflow as tf

from trainer.errors import TrainerError, one_line, shortened

# Set on TPU VMs and in GKE pods; not sufficient evidence of a TPU.
_VARIABLES = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "TPU_WORKER_ID")
_DEVICE_FILES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
_GRPC = "grpc://"
_CONNECT_SECONDS = 10.0


def find_tpu() -> str:
    """Returns evidence of a TPU in this machine, or "". Uses no network."""
    library = os.environ.get("TPU_LIBRARY_PATH", "")
    return tpu_evidence(
        listed=len(tf.config.list_physical_devices("TPU")),
        libtpu=os.path.exists(library)
        or importlib.util.find_spec("libtpu") is not None,
        files=[path for name in _DEVICE_FILES for path in glob.glob(name)],
        environment=os.environ,
    )


def tpu_evidence(
    *,
    listed: int,
    libtpu: bool,
    files: Sequence[str],
    environment: Mapping[str, str],
) -> str:
    """Returns the evidence of a TPU in the arguments, or "" if there is none.

    Args:
      listed: number of TPU devices that TensorFlow lists.
      libtpu: whether the TPU driver is installed. JAX also installs it on
        machines without a TPU.
      files: device files of TPUs or of other accelerators.
      environment: environment variables of the process.
    """
    if listed:
        return f"TensorFlow lists {listed} TPU devices"
    variables = [name for name in _VARIABLES if environment.get(name)]
    if libtpu and files and variables:
        return f"libtpu, {files[0]}, {variables[0]}"
    return ""


# Cached, because initializing a TPU again deletes the variables on it.
@functools.cache
def connect_tpu(name: str) -> tf.distribute.Strategy:
    """Initializes a TPU and returns its strategy, the same on each call.

    Args:
      name: "local", or the name or grpc:// address of a TPU on the network.

    Raises:
      TrainerError: the TPU cannot be used.
    """
    try:
        _check_reachable(name)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (
        tf.errors.OpError,
        ImportError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        # Google's client library raises errors of many types.
        text = error.message if isinstance(error, tf.errors.OpError) else error
        reason = shortened(one_line(str(text).partition("\n")[0]))
        raise TrainerError(
            f"--tpu={name}: cannot be used ({reason}); check that no other"
            " process holds it and that tensorflow-tpu fits its libtpu"
            " (BUILD.md), or give --strategy=one_device"
        ) from error


def _check_reachable(name: str) -> None:
    """Checks that a grpc:// address accepts connections.

    Without this check, TensorFlow would wait for minutes.

    Raises:
      OSError: the address does not answer within 10 s.
      ValueError: the address has no port.
    """
    if name.startswith(_GRPC):
        host, _, port = name.removeprefix(_GRPC).rpartition(":")
        address = host.strip("[]"), int(port)
        socket.create_connection(address, _CONNECT_SECONDS).close()
