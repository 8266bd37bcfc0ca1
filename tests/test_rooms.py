"""Tests that the packages of `trainer` import only downwards.

A room is a package or module directly in `trainer/`. A module may import from
its own room and from the rooms listed before it.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import trainer

ROOT = pathlib.Path(trainer.__file__).parent
# From the lowest to the highest.
ROOMS = (
    "errors",
    "interrupt",
    "native_logs",
    "native_memory",
    "streams",
    "storage",
    "config",
    "cache",
    "data",
    "distribute",
    "workdir",
    "model",
    "learning",
    "results",
    "run",
    "probe",
    "doctor",
    "search",
    "study",
    "demo",
    "api",
    "command",
)
# The upward imports that are allowed: (module, room) -> the reason.
EXCEPTIONS = {
    ("data.tfds_builder", "demo"): (
        "--dataset=demo imports its TFDS builder, which registers itself"
    ),
}
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"
)


def imported_rooms(source: str, module: str) -> Iterator[tuple[str, str]]:
    """Yields each room that a module imports, and the import as written.

    Args:
      source: the code of the module.
      module: its name below `trainer`, for relative imports.
    """
    package = f"trainer.{module}".split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # Level 1 is the module's own package, level 0 an absolute import.
            base = package[: len(package) + 1 - node.level]
            start = ".".join(
                [*(base if node.level else ()), node.module or ""]
            ).strip(".")
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "trainer" and len(parts) > 1:
                yield parts[1], ast.unparse(node)


def upward_imports(source: str, module: str) -> list[tuple[str, str]]:
    """Returns the imports of a module that do not go downwards.

    Returns:
      Pairs of the imported room and the import as written.
    """
    own = ROOMS.index(module.partition(".")[0])
    return [
        (room, written)
        for room, written in imported_rooms(source, module)
        if room not in ROOMS or ROOMS.index(room) > own
    ]


def source_of(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_in_a_room(module):
    assert module.partition(".")[0] in ROOMS


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m.partition(".")[0] in ROOMS]
)
def test_a_module_imports_downwards(module):
    upward = [
        written
        for room, written in upward_imports(source_of(module), module)
        if (module, room) not in EXCEPTIONS
    ]
    assert upward == [], f"trainer.{module} imports from a room above it"


@pytest.mark.parametrize(("module", "room"), EXCEPTIONS)
def test_an_exception_is_still_needed(module, room):
    upward = upward_imports(source_of(module), module)
    assert room in [found for found, _ in upward]


def test_every_room_exists():
    found = {module.partition(".")[0] for module in MODULES}
    assert found == set(ROOMS)


@pytest.mark.parametrize(
    ("written", "module", "allowed"),
    [
        ("from trainer.errors import TrainerError", "data.check", True),
        ("from trainer.data.check import check", "data.folder", True),
        ("from trainer import interrupt", "learning.loop", True),
        ("import trainer.storage.files", "config.config", True),
        ("import os, tensorflow as tf", "config.config", True),
        ("from .check import check", "data.folder", True),
        ("from ..storage import files", "data.folder", True),
        ("from trainer.run import training", "learning.loop", False),
        ("from trainer import run", "learning.loop", False),
        ("import trainer.model.freeze", "data.check", False),
        ("from ..model import freeze", "data.check", False),
        ("from trainer.attic import old", "demo.builder", False),
        ("def f():\n    from trainer.study import run", "run.use", False),
    ],
)
def test_upward_imports_are_found(written, module, allowed):
    assert (upward_imports(written, module) == []) is allowed
