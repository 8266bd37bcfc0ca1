"""Operations counted by hand, and the table of times."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tensorflow as tf

from benchmarks.trunk import floating_point_operations, table


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        pytest.param(
            # 2 x 4 x 4 x 5 outputs, each of 3 x 3 x 3 weights.
            lambda x: tf.nn.conv2d(x, tf.zeros((3, 3, 3, 5)), 1, "SAME"),
            (2, 4, 4, 3),
            2 * 160 * 27,
            id="convolution",
        ),
        pytest.param(
            lambda x: tf.nn.conv2d(x, tf.zeros((3, 3, 3, 5)), 2, "SAME"),
            (2, 4, 4, 3),
            2 * 40 * 27,
            id="convolution with stride",
        ),
        pytest.param(
            lambda x: tf.nn.depthwise_conv2d(
                x, tf.zeros((3, 3, 3, 1)), (1, 1, 1, 1), "SAME"
            ),
            (1, 4, 4, 3),
            2 * 48 * 9,
            id="depthwise",
        ),
        pytest.param(
            lambda x: tf.matmul(x, tf.zeros((7, 3))),
            (5, 7),
            2 * 15 * 7,
            id="product",
        ),
        pytest.param(
            lambda x: tf.matmul(x, tf.zeros((3, 7)), transpose_b=True),
            (5, 7),
            2 * 15 * 7,
            id="transposed product",
        ),
        pytest.param(
            lambda x: tf.nn.relu(x) + 1.0, (5, 7), 0, id="neither of them"
        ),
    ],
)
def test_operations_are_counted(function, shape, expected):
    graph = (
        tf.function(function)
        .get_concrete_function(tf.TensorSpec(shape, tf.float32))
        .graph
    )
    assert floating_point_operations(graph) == expected


def test_the_table_shows_rates_and_shares():
    """2 GFLOP in 10 ms are 200 GFLOP/s, half of 400."""
    found = {
        "peak": 4e11,
        "operations": 2_000_000_000,
        "seconds": {"graph": [0.009, 0.01, 0.02]},
    }
    assert table(found).splitlines()[-1] == (
        "| graph | 10.00 (9.00 to 20.00) | 200 | 50 % |"
    )


@pytest.mark.slow
def test_a_small_run():
    command = "-m benchmarks.trunk --backbone=MobileNetV2 --image_size=32"
    done = subprocess.run(
        [sys.executable, *command.split(), "--rounds=1", "--images=2"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = done.stdout.splitlines()
    assert [row.split(" ")[1].strip(",") for row in rows[-3:]] == [
        "Keras",
        "graph",
        "litert",
    ]
    assert all(row.endswith(" % |") for row in rows[-3:])
