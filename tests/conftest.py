"""Two CPU devices for all tests, so that two replicas can be tried."""

import gc
import os
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# No test reads or fills the cache of whoever runs them.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()

import pytest

from trainer.distribute import devices


def pytest_configure(config: pytest.Config) -> None:
    devices.configure(logical_cpus=2)


def pytest_collection_finish(session: pytest.Session) -> None:
    # Every keras.utils.clear_session() collects garbage; without this it looks
    # through all objects that the imports made, for 0.15 s each time.
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> str:
    """The folder of real photos and weights, where the machine has one."""
    folder = os.environ.get("TRAINER_TEST_DATA")
    if not folder:
        pytest.skip("TRAINER_TEST_DATA is not set: no real photos to test on")
    for part in ("food3/train", "food3/test", "weights"):
        path = os.path.join(folder, part)
        assert os.path.isdir(path), f"TRAINER_TEST_DATA: {path} is missing"
    return folder
