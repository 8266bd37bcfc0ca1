"""Two CPU devices for all tests, so that tests can use two replicas."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests neither read nor fill the user's cache.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()

import pytest

from trainer.distribute import devices


def pytest_configure(config: pytest.Config) -> None:
    devices.configure(logical_cpus=2)


def pytest_collection_finish(session: pytest.Session) -> None:
    # Every keras.utils.clear_session() collects garbage. If the objects of the
    # imports were not frozen, scanning them would take 0.15 s each time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def uncollected() -> Iterator[None]:
    """Leaves what outlives a module, such as traced functions, uncollected.

    TensorFlow and Keras keep up to a million objects of earlier tests. Scanning
    them took a third of the time of the slow tests.
    """
    yield
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> str:
    """The folder of real photos and weights; skips the test without one."""
    folder = os.environ.get("TRAINER_TEST_DATA")
    if not folder:
        pytest.skip("TRAINER_TEST_DATA is not set: no real photos to test on")
    for part in ("food3/train", "food3/test", "weights"):
        path = os.path.join(folder, part)
        assert os.path.isdir(path), f"TRAINER_TEST_DATA: {path} is missing"
    return folder
