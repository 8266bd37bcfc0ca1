"""What dishes are painted on: a plane seen from above or from the side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from trainer.demo.colours import Colour, mixed, scaled
from trainer.demo.shapes import Point, shrunk

SIDE_PX = 96
# Drawn this many times larger, then averaged: smooth edges.
OVERSAMPLING = 3


class View:
    """Where a dish stands in the picture and how it is seen.

    A dish has a radius of about 1 around (0, 0) of its own plane.
    """

    def __init__(
        self,
        x: float,
        y: float,
        scale: float,
        angle: float = 0.0,
        tilt: float = 1.0,
    ) -> None:
        """Places a dish.

        Args:
          x: of the dish's middle, as a fraction of the picture's side.
          y: likewise, from the top.
          scale: length of the dish's unit, as a fraction of the side.
          angle: radians that the dish is turned by in its plane.
          tilt: height of a level circle as a fraction of its width; 1 is seen
            from straight above, and so is what stands upright.
        """
        side = SIDE_PX * OVERSAMPLING
        self._x, self._y = x * side, y * side
        self.unit_px = scale * side
        c, s = math.cos(angle) * self.unit_px, math.sin(angle) * self.unit_px
        self._right = c, s * tilt
        self._down = -s, c * tilt
        # What a unit of height lifts a point by in the picture.
        self._rise = self.unit_px * math.sqrt(max(0.0, 1 - tilt * tilt))

    def place(
        self, points: Sequence[Point], height: float, right: float, down: float
    ) -> list[int]:
        """Pixel coordinates x, y, x, y, ... of points of the dish's plane.

        Whole numbers, since what a rasteriser makes of fractions may differ.

        Args:
          points: in the dish's own units.
          height: above the plane.
          right: pixels to move by in the picture.
          down: likewise.
        """
        (a, b), (c, d) = self._right, self._down
        x = self._x + right
        y = self._y + down - height * self._rise
        flat = []
        for u, v in points:
            flat.append(round(x + a * u + c * v))
            flat.append(round(y + b * u + d * v))
        return flat


class Canvas:
    """A picture in the making.

    Attributes:
      image: RGB, `OVERSAMPLING` times the final size.
      view: where the following shapes go.
      light: direction to the light in the picture, a vector of length 1.
    """

    def __init__(self, background: Colour, light_angle: float) -> None:
        side = SIDE_PX * OVERSAMPLING
        self.image = Image.new("RGB", (side, side), background)
        self.view = View(0.5, 0.5, 0.5)
        self.light = math.cos(light_angle), math.sin(light_angle)
        self._solid = ImageDraw.Draw(self.image)
        self._clear = ImageDraw.Draw(self.image, "RGBA")

    def fill(
        self,
        points: Sequence[Point],
        colour: Colour,
        *,
        opacity: float = 1.0,
        height: float = 0.0,
        right: float = 0.0,
        down: float = 0.0,
    ) -> None:
        """Paints the inside of an outline.

        Args:
          points: three or more.
          colour: what with.
          opacity: 1 hides what lies below.
          height: above the dish's plane, in its units.
          right: units to move by in the picture, whatever the dish's angle.
          down: likewise.
        """
        unit = self.view.unit_px
        flat = self.view.place(points, height, right * unit, down * unit)
        if opacity >= 1:
            self._solid.polygon(flat, colour)
        else:
            self._clear.polygon(flat, (*colour, round(255 * opacity)))

    def shadow(
        self, points: Sequence[Point], length: float, opacity: float = 0.35
    ) -> None:
        """Darkens what lies below, away from the light."""
        lx, ly = self.light
        self.fill(
            points,
            (0, 0, 0),
            opacity=opacity,
            right=-lx * length,
            down=-ly * length,
        )

    def solid(
        self,
        points: Sequence[Point],
        colour: Colour,
        thickness: float,
        *,
        height: float = 0.0,
        gloss: float = 0.25,
    ) -> None:
        """Paints a piece that has a shadow, a side and a lighter top.

        Args:
          points: its outline.
          colour: of its top.
          thickness: in the dish's units.
          height: of its foot above the plane.
          gloss: how much lighter the part towards the light is, up to 1.
        """
        lx, ly = self.light
        self.shadow(points, 0.7 * thickness + 0.02)
        dark = scaled(colour, 0.6)
        self.fill(
            points,
            dark,
            height=height,
            right=-lx * 0.25 * thickness,
            down=-ly * 0.25 * thickness,
        )
        top = height + thickness
        for i in range(1, 1 + int(thickness / 0.08)):
            self.fill(points, dark, height=height + 0.08 * i)
        self.fill(points, colour, height=top)
        if gloss > 0:
            self.fill(
                shrunk(points, 0.55),
                mixed(colour, (255, 250, 240), gloss),
                height=top,
                opacity=0.6,
                right=lx * 0.25 * thickness,
                down=ly * 0.25 * thickness,
            )

    def finished(self) -> Image.Image:
        """The picture at its final size."""
        return self.image.reduce(OVERSAMPLING)
