"""The program installed from its wheel, used without a file of the checkout."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from tests.support.photos import CLASSES, make_photos

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


class Installed:
    """A virtual environment with the wheel, and an empty folder to work in."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Builds the wheel from a copy of the sources, and installs it."""
        source, dist = folder / "source", folder / "dist"
        source.mkdir()
        for name in SOURCES:
            shutil.copy(ROOT / name, source)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "trainer", source / "trainer", ignore=ignore)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        offline = ["--no-index", "--no-deps"]
        build = ["--no-build-isolation", "-w", str(dist), str(source)]
        subprocess.run([*pip, "wheel", *offline, *build], check=True)
        shutil.rmtree(source)
        venv.create(folder / "env", symlinks=True)
        scripts, site = (
            pathlib.Path(sysconfig.get_path(name, "venv", self._base(folder)))
            for name in ("scripts", "purelib")
        )
        self._python = scripts / "python"
        python = ["--python", str(self._python)]
        wheel = str(next(dist.glob("*.whl")))
        subprocess.run([*pip, *python, "install", *offline, wheel], check=True)
        # TensorFlow and the other requirements; the wheel's package is first.
        (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
        self.program = scripts / "transfer-trainer"
        self.folder = folder / "empty"
        self.folder.mkdir()

    @staticmethod
    def _base(folder: pathlib.Path) -> dict[str, str]:
        env = str(folder / "env")
        return {"base": env, "platbase": env}

    def run(self, *command: str) -> str:
        """Runs a command in the empty folder; returns its standard output."""
        home = {"HOME": str(self.folder.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, **home},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def package(self) -> pathlib.Path:
        """Returns where this environment imports the package from."""
        code = "import trainer; print(trainer.__file__)"
        return pathlib.Path(self.run(str(self._python), "-c", code).strip())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.mark.slow
def test_a_wheel_trains_predicts_and_exports(installed):
    assert not installed.package().is_relative_to(ROOT)
    photos = make_photos(installed.folder / "photos")
    program = str(installed.program)
    small = ("--image_size=64", "--batch_size=8", "--head_epochs=1")
    said = installed.run(
        program,
        "--stage=finetune",
        f"--dataset={photos}",
        "--backbone=EfficientNetLite0",
        "--epochs=1",
        "--workdir=run",
        *small,
    )
    # The next commands of the output are those of the installed program.
    assert "transfer-trainer --stage=export --workdir=run" in said
    assert "main.py" not in said
    run = installed.folder / "run"
    assert (run / "report.html").stat().st_size > 10_000
    result = json.loads((run / "result.json").read_text())
    assert result["test_examples"] == 15

    one = f"{photos}/test/sushi/000.jpg"
    predict = ("--stage=predict", "--workdir=run", f"--inputs={one}")
    (row,) = csv.DictReader(installed.run(program, *predict).splitlines())
    assert row["class_1"] in CLASSES

    said = installed.run(program, "--stage=export", "--workdir=run")
    exported = run / "export"
    assert (exported / "saved_model" / "saved_model.pb").exists()
    labels = (exported / "labels.txt").read_text("utf-8").splitlines()
    assert labels == sorted(CLASSES)
    assert "original" in said


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_template(installed):
    package = installed.package().parent
    there = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    source = ROOT / "trainer"
    assert there == {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
