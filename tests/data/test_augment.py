"""The warp compared with SciPy, and the distribution of the draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from trainer.data.augment import POLICIES, affine, draw_parameters, warp

RNG = np.random.default_rng(0)
# For pixels in 0..255; the documented limit is 0.01.
TOLERANCE = 1e-3

# Flip, angle, zoom, height, width.
CASES = {
    "identity": (1.0, 0.0, 1.0, 1.0, 1.0),
    "flip": (-1.0, 0.0, 1.0, 1.0, 1.0),
    "quarter_turn": (1.0, math.pi / 2, 1.0, 1.0, 1.0),
    "angle": (1.0, -0.37 * math.pi, 1.0, 1.0, 1.0),
    "zoom": (1.0, 0.0, 1.2, 1.0, 1.0),
    "height": (1.0, 0.0, 1.0, 1.17, 1.0),
    "width": (1.0, 0.0, 1.0, 1.0, 0.81),
    "composite": (-1.0, 0.9, 1.13, 0.84, 1.19),
    "farthest_outside": (1.0, 0.25 * math.pi, 1.2, 0.8, 0.8),
}
SIZES = {
    "square": (32, 32),
    "odd": (31, 31),
    "wide": (24, 57),
    "tall": (50, 21),
    "line": (1, 40),
    "imagenet": (224, 224),
}

Warp = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_warp(name: str) -> Warp:
    """Returns the warp by a kernel, compiled if the name ends in `_xla`."""
    kernel, _, mode = name.partition("_")

    def function(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
        return warp(images, matrices, kernel=kernel)

    run = function
    if mode == "xla":
        run = tf.function(function, jit_compile=True)
    return lambda images, matrices: run(
        tf.constant(images, tf.float32), tf.constant(matrices, tf.float32)
    ).numpy()


@pytest.fixture(scope="module", params=["projective", "gather", "gather_xla"])
def run_warp(request: pytest.FixtureRequest) -> Warp:
    """The warp by each kernel; gather also compiled."""
    return make_warp(request.param)


def matrix_of(name: str) -> np.ndarray:
    """Returns the matrix of a named case, float32 (2, 2)."""
    return affine(tf.constant(CASES[name])).numpy()


def noise(size: tuple[int, int]) -> np.ndarray:
    """Returns float32 (H, W, 3) in 0..255, the hardest image to sample."""
    return RNG.uniform(0, 255, (*size, 3)).astype(np.float32)


def smooth(size: tuple[int, int]) -> np.ndarray:
    """Returns float32 (H, W, 3) in 0..255, waves longer than ten pixels."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x / 7) + np.cos(y / 9), np.sin((x + y) / 11), np.cos(x / 5)]
    return (127 + 60 * np.stack(waves, axis=-1)).astype(np.float32)


def scipy_warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns the warped image by SciPy in float64."""
    height, width, _ = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    (a, b), (c, d) = matrix.astype(np.float64)
    at = [
        c * (x - cx) + d * (y - cy) + cy,
        a * (x - cx) + b * (y - cy) + cx,
    ]
    channels = [
        ndimage.map_coordinates(
            image[..., k].astype(np.float64), at, order=1, mode="reflect"
        )
        for k in range(3)
    ]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("make_image", [noise, smooth])
def test_warp_equals_scipy(
    make_image: Callable[[tuple[int, int]], np.ndarray],
    size: tuple[int, int],
    run_warp: Warp,
) -> None:
    image = make_image(size)
    matrices = np.stack([matrix_of(name) for name in CASES])
    warped = run_warp(np.stack([image] * len(CASES)), matrices)
    for name, got, matrix in zip(CASES, warped, matrices, strict=True):
        expected = scipy_warp(image, matrix)
        np.testing.assert_allclose(
            got, expected, rtol=0, atol=TOLERANCE, err_msg=name
        )


@pytest.mark.parametrize("compiled", ["gather", "gather_xla"])
def test_kernels_agree_on_drawn_matrices(compiled: str) -> None:
    matrices = np.stack(
        [
            affine(draw_parameters(3, tf.constant(0, tf.int64), row))
            for row in tf.range(24, dtype=tf.int64)
        ]
    )
    images = np.stack([noise((224, 224)), smooth((224, 224))] * 12)
    difference = make_warp(compiled)(images, matrices) - make_warp(
        "projective"
    )(images, matrices)
    assert np.abs(difference).max() <= TOLERANCE


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param([[7.0, 0.0], [0.0, 7.0]], id="shrunk_seven_times"),
        pytest.param([[0.0, -11.5], [9.25, 0.0]], id="shrunk_and_turned"),
    ],
)
def test_the_image_is_reflected_at_any_distance(
    matrix: list[list[float]], run_warp: Warp
) -> None:
    image = noise((10, 14))
    got = run_warp(image[None], np.array([matrix]))[0]
    expected = scipy_warp(image, np.array(matrix))
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


def test_reflection_doubles_the_edge_pixels(run_warp: Warp) -> None:
    row = np.array([0.0, 10.0, 20.0, 30.0], np.float32)
    image = np.broadcast_to(row[None, :, None], (1, 4, 3))
    # Sources -3, 0, 3, 6: with 'reflect' the row reads
    # ... 20 10 0 | 0 10 20 30 | 30 20 10 ...
    got = run_warp(image[None], np.array([[[3.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_array_equal(got[0, 0, :, 0], [20, 0, 30, 10])


EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda image: image,
    "flip": lambda image: image[:, ::-1],
    # Counter-clockwise, as np.rot90 turns.
    "quarter_turn": np.rot90,
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("px", [16, 17, 224])
def test_exact_cases_are_bit_identical(
    px: int, name: str, run_warp: Warp
) -> None:
    image = noise((px, px))
    got = run_warp(image[None], matrix_of(name)[None])[0]
    np.testing.assert_array_equal(got, EXACT[name](image))


@pytest.mark.parametrize(
    ("parameters", "height", "width"),
    [
        pytest.param((1, 0, 1.0, 1.0, 1.0), 20, 30, id="identity"),
        pytest.param((1, 0, 1.25, 1.0, 1.0), 16, 24, id="zoom_shrinks"),
        pytest.param((1, 0, 0.8, 1.0, 1.0), 25, 37.5, id="zoom_enlarges"),
        pytest.param((1, 0, 1.0, 1.2, 1.0), 24, 30, id="height_stretches"),
        pytest.param((1, 0, 1.0, 1.0, 1.2), 20, 36, id="width_stretches"),
        pytest.param((1, math.pi / 2, 1, 1, 1), 30, 20, id="quarter_turn"),
    ],
)
def test_a_rectangle_gets_the_expected_size(
    parameters: tuple[float, ...], height: float, width: float, run_warp: Warp
) -> None:
    image = np.zeros((64, 64, 3), np.float32)
    image[22:42, 17:47] = 1.0
    got = run_warp(image[None], affine(tf.constant(parameters))[None])[0]
    assert got[:, 31:33].sum() / 6 == pytest.approx(height, abs=0.6)
    assert got[31:33].sum() / 6 == pytest.approx(width, abs=0.6)


def test_a_positive_angle_turns_counter_clockwise(run_warp: Warp) -> None:
    image = np.zeros((65, 65, 3), np.float32)
    # Right of the centre, but not so far that its mirror image is visible.
    image[30:35, 42:47] = 1.0
    matrix = affine(tf.constant((1.0, math.pi / 4, 1.0, 1.0, 1.0)))
    got = run_warp(image[None], matrix[None])[0, ..., 0]
    y, x = np.array(ndimage.center_of_mass(got)) - 32
    # 12 px to the right become 8.49 to the right and 8.49 up.
    assert (x, y) == pytest.approx((8.49, -8.49), abs=0.05)


def test_affine_is_the_product_of_its_factors() -> None:
    flip, angle, zoom, height, width = CASES["composite"]
    cos, sin = math.cos(angle), math.sin(angle)
    expected = (
        np.diag([flip, 1.0])
        @ np.array([[cos, -sin], [sin, cos]])
        @ np.diag([zoom / width, zoom / height])
    )
    # Entries are rounded to 1/4096.
    np.testing.assert_allclose(
        matrix_of("composite"), expected, rtol=0, atol=0.5 / 4096 + 1e-6
    )
    batch = affine(tf.constant(list(CASES.values())))
    assert batch.shape == (len(CASES), 2, 2)
    np.testing.assert_array_equal(batch * 4096 % 1, np.zeros_like(batch))


def test_an_unknown_kernel_is_rejected() -> None:
    with pytest.raises(ValueError, match="kernel='cubic': must be one of"):
        warp(tf.zeros((1, 4, 4, 3)), tf.eye(2)[None], kernel="cubic")


def draw_many(pairs: np.ndarray) -> np.ndarray:
    """Returns the draws of int64 (n, 2) epochs and hashes, float32 (n, 5)."""
    dataset = tf.data.Dataset.from_tensor_slices(pairs).map(
        lambda pair: draw_parameters(5, pair[0], pair[1])
    )
    return np.stack(list(dataset.batch(1000)), axis=0).reshape(-1, 5)


def test_draws_have_the_stated_distribution() -> None:
    n = 4000
    hashes = RNG.integers(-(2**63), 2**63 - 1, n, np.int64)
    draws = draw_many(np.stack([np.arange(n) % 4, hashes], axis=1))
    flip, rest = draws[:, 0], draws[:, 1:]
    # Four standard errors of a mean of n.
    assert set(flip) == {-1.0, 1.0}
    assert flip.mean() == pytest.approx(0, abs=4 / math.sqrt(n))
    half = np.array([0.4 * math.pi, 0.2, 0.2, 0.2])
    centred = (rest - [0, 1, 1, 1]) / half
    assert np.abs(centred).max() <= 1 + 1e-6
    assert np.abs(centred).max(axis=0) == pytest.approx(1, abs=0.01)
    error = 4 / math.sqrt(3 * n)
    assert centred.mean(axis=0) == pytest.approx(0, abs=error)
    assert centred.std(axis=0) == pytest.approx(1 / math.sqrt(3), abs=0.02)
    # The five parameters are uncorrelated.
    correlation = np.corrcoef(draws, rowvar=False) - np.eye(5)
    assert np.abs(correlation).max() < 5 / math.sqrt(n)


def test_a_draw_depends_only_on_seed_epoch_and_sample() -> None:
    values = [-(2**63), 0, 1, 2**32, 2**63 - 1]
    draw = tf.function(draw_parameters)
    seen = {}
    for seed in values:
        for epoch in (0, 1, 2**32):
            for row in values:
                args = tf.constant(epoch, tf.int64), tf.constant(row, tf.int64)
                drawn = tuple(draw_parameters(seed, *args).numpy()[1:])
                seen[drawn] = seed, epoch, row
    assert len(seen) == len(values) * 3 * len(values)
    args = tf.constant(2, tf.int64), tf.constant(2**32, tf.int64)
    np.testing.assert_array_equal(draw(1, *args), draw_parameters(1, *args))
    # Golden values: detect a TensorFlow version that draws other numbers.
    golden = [-1.0, 0.42499629, 0.96170539, 1.05877781, 1.01424241]
    np.testing.assert_allclose(draw(1, *args), golden, rtol=1e-6)


def test_mild_draws_keep_their_ranges() -> None:
    n = 4000
    hashes = RNG.integers(-(2**63), 2**63 - 1, n, np.int64)
    pairs = np.stack([np.arange(n) % 4, hashes], axis=1)
    dataset = tf.data.Dataset.from_tensor_slices(pairs).map(
        lambda p: (
            draw_parameters(5, p[0], p[1], POLICIES["mild"]),
            draw_parameters(5, p[0], p[1]),
        )
    )
    mild, tutorial = next(iter(dataset.batch(n)))
    mild, tutorial = mild.numpy(), tutorial.numpy()
    # The same flips; no stretch.
    np.testing.assert_array_equal(mild[:, 0], tutorial[:, 0])
    np.testing.assert_array_equal(mild[:, 3:5], 1)
    half = np.array([math.pi / 12, 0.2, 0.05, 0.05])
    drawn = (mild[:, [1, 2, 5, 6]] - [0, 1, 0, 0]) / half
    assert np.abs(drawn).max() <= 1 + 1e-5
    assert np.abs(drawn).max(axis=0) == pytest.approx(1, abs=0.01)
    assert drawn.mean(axis=0) == pytest.approx(0, abs=4 / math.sqrt(3 * n))
    correlation = np.corrcoef(drawn, rowvar=False) - np.eye(4)
    assert np.abs(correlation).max() < 5 / math.sqrt(n)


def test_a_shift_moves_whole_pixels(run_warp: Warp) -> None:
    image = noise((32, 64))
    # Sources are an eighth of the width to the right, a quarter further down.
    matrix = affine(tf.constant((1.0, 0.0, 1.0, 1.0, 1.0, 0.125, 0.25)))
    assert matrix.shape == (2, 3)
    moved = run_warp(image[None], matrix.numpy()[None])[0]
    np.testing.assert_array_equal(moved[:24, :56], image[8:, 8:])
    # Beyond the edge the image is mirrored, its edge doubled.
    np.testing.assert_array_equal(moved[24:, :56], image[:-9:-1, 8:])
