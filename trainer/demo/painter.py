"""The painter of one image, and the view of its dish."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from trainer.demo.colours import RGB, TABLES, Colour, clipped
from trainer.demo.draws import Draws
from trainer.demo.shapes import Outline, Point, shrunk, turned

SIDE_PX = 96
# The image is drawn this many times larger and averaged, for smooth edges.
OVERSAMPLING = 3


class View(NamedTuple):
    """The place, size and tilt of a dish in the image.

    A dish lies in a plane, in which it has a radius of about 1 around (0, 0).

    Attributes:
      x, y: centre of the dish, as fractions of the image's side.
      scale: length of the dish's unit, as a fraction of the side.
      angle: radians by which the dish is turned in its plane.
      tilt: height of a level circle in the image as a fraction of its width; 1
        for a dish seen from straight above, or for one that stands upright.
    """

    x: float
    y: float
    scale: float
    angle: float = 0.0
    tilt: float = 1.0

    def place(
        self, points: Sequence[Point], height: float, right: float, down: float
    ) -> list[int]:
        """Returns pixel coordinates x, y, x, y, ... of points of the plane.

        The coordinates are integers, because rasterisers may round fractions
        differently.

        Args:
          points: in the dish's units.
          height: above the plane, in the dish's units.
          right: units to move by in the image, whatever the angle.
          down: units to move by in the image, whatever the angle.
        """
        side = SIDE_PX * OVERSAMPLING
        unit = self.scale * side
        c, s = math.cos(self.angle) * unit, math.sin(self.angle) * unit
        # Pixels by which a unit of height lifts a point.
        rise = unit * math.sqrt(max(0.0, 1 - self.tilt * self.tilt))
        x = self.x * side + right * unit
        y = self.y * side + down * unit - height * rise
        flat = []
        for u, v in points:
            flat.append(round(x + c * u - s * v))
            flat.append(round(y + s * self.tilt * u + c * self.tilt * v))
        return flat


class Painter(Draws):
    """Makes the random choices of one image and paints it.

    Attributes:
      view: the view of the shapes that follow.
      light: direction to the light in the image, a vector of length 1.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        side = SIDE_PX * OVERSAMPLING
        self._image = Image.new("RGB", (side, side), TABLES[0])
        self._solid = ImageDraw.Draw(self._image)
        self._clear = ImageDraw.Draw(self._image, "RGBA")
        self.view = View(0.5, 0.5, 0.5)
        light_angle = self.angle()
        self.light = math.cos(light_angle), math.sin(light_angle)

    def scatter(self, count: int, radius: float) -> Iterator[Point]:
        """Yields random points of a disc, drawn on demand."""
        for _ in range(count):
            yield self.in_disc(radius)

    def varied(self, colour: RGB, spread: float = 0.12) -> Colour:
        """Returns a colour of slightly different brightness and hue."""
        k = 1 + self.near(0, spread)
        r, g, b = (c * k * (1 + self.near(0, spread / 3)) for c in colour)
        return clipped(r, g, b)

    def one_of(
        self, colours: tuple[Colour, ...], spread: float = 0.12
    ) -> Colour:
        """Picks a colour and varies it."""
        return self.varied(self.pick(colours), spread)

    def blob(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        wobble: float = 0.15,
        angle: float = 0.0,
        corners: int = 16,
    ) -> Outline:
        """Returns an ellipse whose radius varies by up to `wobble`."""
        waves = [
            (k, self.angle(), wobble * self.uniform(0.3, 1.0) / math.sqrt(k))
            for k in (2, 3, 5)
        ]
        points = []
        for i in range(corners):
            t = 2 * math.pi * i / corners
            r = 1 + sum(a * math.sin(k * t + p) for k, p, a in waves) / 1.5
            points.append((rx * r * math.cos(t), ry * r * math.sin(t)))
        return turned(points, x, y, angle)

    def fill(
        self,
        points: Sequence[Point],
        colour: RGB,
        *,
        opacity: float = 1.0,
        height: float = 0.0,
        down: float = 0.0,
        to_light: float = 0.0,
    ) -> None:
        """Paints the inside of an outline of three or more points.

        All lengths are in the dish's units. An opacity of 1 hides the
        background; `down` and `to_light` move the outline in the image.
        """
        lx, ly = self.light
        flat = self.view.place(
            points, height, lx * to_light, down + ly * to_light
        )
        if opacity >= 1:
            self._solid.polygon(flat, colour)
        else:
            self._clear.polygon(flat, (*colour, round(255 * opacity)))

    def shadow(
        self, points: Sequence[Point], length: float, opacity: float = 0.35
    ) -> None:
        """Darkens the image below an outline, away from the light."""
        self.fill(points, (0, 0, 0), opacity=opacity, to_light=-length)

    def solid(
        self,
        points: Sequence[Point],
        colour: RGB,
        thickness: float,
        *,
        height: float = 0.0,
        gloss: float = 0.25,
    ) -> None:
        """Paints a piece that has a shadow, a side and a lighter top.

        `height` is the height of its base. `gloss`, in [0, 1], lightens the
        part of the top that faces the light.
        """
        self.shadow(points, 0.7 * thickness + 0.02)
        top_colour = Colour(*colour)
        dark = top_colour.scaled(0.6)
        self.fill(points, dark, height=height, to_light=-0.25 * thickness)
        top = height + thickness
        for i in range(1, 1 + int(thickness / 0.08)):
            self.fill(points, dark, height=height + 0.08 * i)
        self.fill(points, colour, height=top)
        if gloss > 0:
            self.fill(
                shrunk(points, 0.55),
                top_colour.mixed((255, 250, 240), gloss),
                height=top,
                opacity=0.6,
                to_light=0.25 * thickness,
            )

    def finished(self) -> Image.Image:
        """Returns the image at its final size."""
        return self._image.reduce(OVERSAMPLING)
