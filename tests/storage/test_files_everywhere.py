"""Only trainer/storage touches files that a person may have named.

The test parses every module and looks for calls of the operating system, by
name.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import trainer

_PACKAGE = pathlib.Path(trainer.__file__).parent


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions that take local paths only. Functions of `os` that handle paths as
# text, or no files at all, are left out.
_OS = _words(
    "access chdir chmod link listdir lstat makedirs mkdir open readlink remove"
    " removedirs rename renames replace rmdir scandir stat symlink truncate"
    " unlink utime walk"
)
_OS_PATH = _words(
    "abspath exists getatime getctime getmtime getsize isdir isfile islink"
    " ismount lexists realpath relpath samefile"
)
_WHOLE = _words("glob h5py mmap shutil tempfile zipfile")
_NUMPY = _words("fromfile load loadtxt memmap open_memmap save savez")
# Methods of any object, mostly of a pathlib.Path.
_METHODS = _words(
    "exists glob is_dir is_file iterdir mkdir read_bytes read_text resolve"
    " rglob rmdir savefig touch tofile unlink write_bytes write_text"
)

_KERNEL = "a kernel lock, which only local folders have"
_PROC = "/proc of this machine"
# (module, call) -> why.
ALLOWED = {
    ("config/checked.py", "os.path.lexists"): "a name that starts with ~",
    ("command/program.py", "open"): "os.devnull",
    ("command/program.py", "os.open"): "os.devnull",
    ("data/records.py", "open"): "local shards, read unbuffered",
    ("demo/workers.py", "pathlib.Path.resolve"): "the folder of the package",
    ("distribute/devices.py", "open"): _PROC,
    ("learning/disk.py", "shutil.disk_usage"): "a local workdir only",
    ("results/format_runners.py", "np.load"): "in a local temporary folder",
    ("results/format_runners.py", "np.save"): "in a local temporary folder",
    ("run/export_check.py", "np.load"): "in a local temporary folder",
    ("run/export_check.py", "np.save"): "in a local temporary folder",
    ("run/export_check.py", "os.path.getsize"): "of an export not yet in place",
    ("run/export_check.py", "os.path.isfile"): "of an export not yet in place",
    (
        "run/export_check.py",
        "tempfile.TemporaryDirectory",
    ): "removed at the end",
    ("run/memory.py", "open"): _PROC,
    ("workdir/holder.py", "open"): _PROC,
    ("workdir/holder.py", "os.stat"): _PROC,
    ("workdir/lock.py", "open"): f"{_KERNEL}; /proc",
    ("workdir/lock.py", "os.makedirs"): _KERNEL,
    ("workdir/lock.py", "os.open"): _KERNEL,
    ("workdir/lock.py", "os.path.realpath"): "the mount of a local folder",
    ("workdir/lock.py", "os.stat"): _KERNEL,
    ("workdir/lock.py", "os.unlink"): _KERNEL,
    ("model/weights/hdf5_reader.py", "h5py.h5a.exists"): "within a file",
    ("model/weights/hdf5_reader.py", "links.exists"): "within a file",
    ("model/weights/hdf5.py", "h5py.File"): "local, or fetched",
    ("model/weights/hdf5.py", "mmap.mmap"): "local, or fetched",
    ("model/weights/hdf5.py", "zipfile.ZipFile"): "local, or fetched",
    ("model/weights/keras_files.py", "os.access"): "as Keras does",
    ("native_logs.py", "open"): "standard error",
    ("native_logs.py", "shutil.copyfileobj"): "standard error",
    ("native_logs.py", "tempfile.TemporaryFile"): "standard error",
    ("streams.py", "os.open"): "the null device",
    ("distribute/tpu.py", "glob.glob"): "/dev of this machine",
    ("distribute/tpu.py", "os.path.exists"): "libtpu of this machine",
    ("probe/chart.py", "figure.savefig"): "into memory",
    ("results/head_chart.py", "figure.savefig"): "into memory",
    ("results/embedding.py", "np.savez"): "into memory",
    ("doctor/labels.py", "np.savez"): "into memory",
    ("doctor/labels.py", "np.load"): "from memory",
    ("results/rate_chart.py", "figure.savefig"): "into memory",
    ("run/apart.py", "pathlib.Path.resolve"): "the folder of the package",
    ("run/lr_find.py", "tempfile.TemporaryDirectory"): "removed at the end",
    ("search/chart.py", "figure.savefig"): "into memory",
    ("search/serve.py", "open"): "the null device",
}
# Modules that may touch any file -> why.
OWN = {
    "cache/disk.py": "the cache is local",
    "cache/entries.py": "the cache is local",
    "cache/files.py": "the cache is local",
    "cache/rows.py": "the cache is local",
    "cache/segments.py": "the cache is local",
    "storage/files.py": "chooses between local and remote access",
    "storage/folders.py": "the same for whole folders",
    "storage/paths.py": "the same for the identity of a folder",
    "storage/regular.py": "opens local files",
    "storage/remote.py": "holds the local copies of remote files",
    "storage/writing.py": "chooses between local and remote writes",
}
# Methods of these names are our own, and use trainer/storage.
_OURS = ("entry", "files", "self", "workdir")


def _calls(source: str) -> Iterator[str]:
    """Yields the dotted names of the calls in a module that touch files."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            *owner, last = name.split(".")
            whole = ".".join(owner)
            if (
                name == "open"
                or (whole == "os" and last in _OS)
                or (whole == "os.path" and last in _OS_PATH)
                or whole in _WHOLE
                or (owner[:1] in (["np"], ["numpy"]) and last in _NUMPY)
                or (owner and owner[0] not in _OURS and last in _METHODS)
            ):
                yield name


def _dotted(node: ast.expr) -> str:
    """Returns `a.b.c`, without the calls and indices in between."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Subscript):
        return _dotted(node.value)
    return "it"


def test_calls_that_touch_files_are_found():
    source = """
open(path)
os.path.exists(path), os.listdir(path), os.stat(path)
shutil.rmtree(path)
Path(path).read_text()
Path(path).parents[2].mkdir()
(a / b).unlink()
np.load(path)
np.lib.format.open_memmap(path)
files.exists(path), files.glob(path), os.path.join(path), text.replace(a, b)
"""
    assert sorted(_calls(source)) == [
        "Path.parents.mkdir",
        "Path.read_text",
        "it.unlink",
        "np.lib.format.open_memmap",
        "np.load",
        "open",
        "os.listdir",
        "os.path.exists",
        "os.stat",
        "shutil.rmtree",
    ]


def test_other_modules_go_through_files():
    found = {
        (path.relative_to(_PACKAGE).as_posix(), call)
        for path in sorted(_PACKAGE.rglob("*.py"))
        for call in _calls(path.read_text(encoding="utf-8"))
    }
    found = {(module, call) for module, call in found if module not in OWN}
    assert found - ALLOWED.keys() == set(), (
        "use trainer.storage.files, or add a reason here"
    )
    assert ALLOWED.keys() - found == set(), (
        "no longer in the module; remove it here"
    )


def test_only_remote_and_heartbeat_use_gfile():
    users = {
        path.relative_to(_PACKAGE).as_posix()
        for path in _PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and _dotted(node) == "tf.io.gfile"
    }
    assert users == {"storage/remote.py", "workdir/heartbeat.py"}
