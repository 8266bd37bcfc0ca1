"""The benchmark of growth: its photos, its table and a small run."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from benchmarks import growth

FLAGS = (
    "--stage=feature_extract --augment=off --epochs=1 --image_size=32"
    " --backbone=MobileNetV2 --backbone_args=alpha=0.35 --weights=none"
)


def test_photos_differ_and_are_drawn_once(tmp_path: pathlib.Path) -> None:
    def draw() -> None:
        growth.draw_photos(
            tmp_path, photos={"train": 3, "test": 2}, classes=2, side=16
        )

    draw()
    paths = sorted(tmp_path.rglob("*.jpg"))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        *(f"test/class{c:03d}/{n:04d}.jpg" for c in (0, 1) for n in (0, 1)),
        *(f"train/class{c:03d}/{n:04d}.jpg" for c in (0, 1) for n in (0, 1, 2)),
    ]
    pixels = [np.asarray(Image.open(path)) for path in paths]
    assert {p.shape for p in pixels} == {(16, 16, 3)}
    assert len({p.tobytes() for p in pixels}) == 10
    before = [path.stat().st_mtime_ns for path in paths]
    draw()
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_row_of_the_table() -> None:
    row = growth.Growth(
        photos=75_750 + 25_250,
        wall=99.6,
        cpu=150.2,
        before=20.04,
        stage=60.06,
        after=19.5,
        peak_mib=1000.4,
        cache_mib=500.5,
        workdir_mib=3.25,
    )
    assert growth.table({"100 warm": row}).splitlines()[-1] == (
        "| 101,000 | warm | 100 | 20.0 | 60.1 | 19.5 | 150 | 1000 | 500 | 3.2 |"
    )


@pytest.mark.slow
def test_a_size_with_and_without_cache(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    growth.main(
        [
            f"--workdir={tmp_path}",
            "--percent=100",
            "--classes=3",
            "--train=4",
            "--test=2",
            "--side=32",
            f"--flags={FLAGS}",
        ]
    )
    lines = [
        line.strip("| ").split(" | ")
        for line in capsys.readouterr().out.splitlines()[-2:]
    ]
    # 3 classes of 4 training photos and 2 test photos.
    assert [line[:2] for line in lines] == [["18", "empty"], ["18", "warm"]]
    for line in lines:
        wall, before, stage, after = map(float, line[2:6])
        assert wall == pytest.approx(before + stage + after, abs=1)
        assert min(before, stage, after) > 0
