"""Drawings of ten kinds of clothing: what the clothing model learns from, in place of a photo collection."""

import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Colour = tuple[int, int, int]
Shape = list[Point]

SIZE = 299


def draw(kind: str, chance: random.Random) -> Image.Image:
    """A picture of ``kind`` (a key of KINDS), SIZE x SIZE pixels; colours, proportions and place are left to chance."""
    background, cloth = _two_colours(chance)
    picture = Image.new("RGB", (SIZE, SIZE), background)
    pen = _Pen(ImageDraw.Draw(picture), chance, cloth, background)
    KINDS[kind](pen)
    picture = picture.rotate(chance.uniform(-6, 6), Image.Resampling.BILINEAR, fillcolor=background)
    return picture.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1)))


def _two_colours(chance: random.Random) -> tuple[Colour, Colour]:
    """A background and a cloth that stand apart."""
    while True:
        first, second = ((chance.randrange(256), chance.randrange(256), chance.randrange(256)) for _ in range(2))
        if sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 200:
            return first, second


class _Pen:
    """Draws shapes given in a unit square, x and y from the upper left, at a random place and size."""

    def __init__(self, canvas: ImageDraw.ImageDraw, chance: random.Random, cloth: Colour, background: Colour) -> None:
        self._canvas = canvas
        self.chance = chance
        self._cloth = cloth
        self._detail: Colour = background
        self._width, self._height = (SIZE * chance.uniform(0.65, 0.9) for _ in range(2))
        self._left = chance.uniform(0.02, 0.98) * (SIZE - self._width)
        self._top = chance.uniform(0.02, 0.98) * (SIZE - self._height)

    def _place(self, shape: Shape) -> Shape:
        return [(self._left + x * self._width, self._top + y * self._height) for x, y in shape]

    def cloth(self, *shape: Point, mirrored: bool = False) -> None:
        self._fill(list(shape), self._cloth, mirrored)

    def detail(self, *shape: Point, mirrored: bool = False) -> None:
        self._fill(list(shape), self._detail, mirrored)

    def _fill(self, shape: Shape, colour: Colour, mirrored: bool) -> None:
        self._canvas.polygon(self._place(shape), fill=colour)
        if mirrored:
            self._canvas.polygon(self._place([(1 - x, y) for x, y in shape]), fill=colour)

    def ellipse(self, left: float, top: float, right: float, bottom: float) -> None:
        self._canvas.ellipse([*self._place([(left, top), (right, bottom)])], fill=self._cloth)

    def between(self, low: float, high: float) -> float:
        return self.chance.uniform(low, high)


def _top(pen: _Pen, *, sleeve_end: float, hem: float) -> None:
    """Body and sleeves; the sleeves reach down to ``sleeve_end`` and the body to ``hem``."""
    shoulder = pen.between(0.06, 0.1)
    pen.cloth((0.3, 0.02), (0.7, 0.02), (0.78, 0.1), (0.75, hem), (0.25, hem), (0.22, 0.1))
    out = 0.02 + (1 - sleeve_end) * 0.06
    pen.cloth(
        (0.34, 0.02), (0.2, shoulder), (out, sleeve_end), (out + 0.14, sleeve_end + 0.04), (0.3, 0.3), mirrored=True
    )


def _t_shirt(pen: _Pen) -> None:
    _top(pen, sleeve_end=pen.between(0.28, 0.36), hem=pen.between(0.9, 0.98))
    pen.detail((0.4, 0.0), (0.6, 0.0), (0.55, 0.08), (0.45, 0.08))


def _longsleeve(pen: _Pen) -> None:
    _top(pen, sleeve_end=pen.between(0.82, 0.92), hem=pen.between(0.88, 0.96))
    pen.detail((0.4, 0.0), (0.6, 0.0), (0.55, 0.08), (0.45, 0.08))


def _shirt(pen: _Pen) -> None:
    """Long sleeves, a pointed collar and a row of buttons."""
    hem = pen.between(0.88, 0.96)
    _top(pen, sleeve_end=pen.between(0.82, 0.92), hem=hem)
    pen.detail((0.36, 0.0), (0.64, 0.0), (0.5, 0.2))
    pen.detail((0.485, 0.15), (0.515, 0.15), (0.515, hem), (0.485, hem))


def _outwear(pen: _Pen) -> None:
    """Long sleeves and an open front."""
    hem = pen.between(0.94, 1.0)
    _top(pen, sleeve_end=pen.between(0.84, 0.94), hem=hem)
    opening = pen.between(0.07, 0.1)
    pen.detail((0.4, 0.0), (0.6, 0.0), (0.5 + opening, hem), (0.5 - opening, hem))


def _dress(pen: _Pen) -> None:
    """Straps, a waist, a wide hem."""
    waist = pen.between(0.36, 0.44)
    flare = pen.between(0.0, 0.12)
    pen.cloth((0.36, 0.1), (0.64, 0.1), (0.6, waist), (1 - flare, 1), (flare, 1), (0.4, waist))
    pen.cloth((0.36, 0.0), (0.42, 0.0), (0.44, 0.14), (0.36, 0.14), mirrored=True)


def _skirt(pen: _Pen) -> None:
    flare = pen.between(0.0, 0.1)
    top = pen.between(0.15, 0.3)
    pen.cloth((0.3, top), (0.7, top), (1 - flare, 0.9), (flare, 0.9))


def _pants(pen: _Pen) -> None:
    _legs(pen, end=1.0, ankle=pen.between(0.18, 0.24))


def _shorts(pen: _Pen) -> None:
    _legs(pen, end=pen.between(0.5, 0.6), ankle=pen.between(0.32, 0.38))


def _legs(pen: _Pen, *, end: float, ankle: float) -> None:
    """Two legs of the width ``ankle`` at their lower ``end``."""
    crotch = pen.between(0.26, 0.34)
    pen.cloth((0.22, 0.0), (0.78, 0.0), (0.82, crotch), (0.18, crotch))
    outer = pen.between(0.08, 0.14)
    pen.cloth((0.2, 0.1), (0.5, crotch - 0.02), (0.5, crotch + 0.02), (outer + ankle, end), (outer, end), mirrored=True)


def _shoes(pen: _Pen) -> None:
    """A pair seen from the side, one above the other."""
    for top in (0.1, 0.55):
        heel = pen.between(0.04, 0.1)
        pen.cloth(
            (heel, top), (0.4, top), (0.55, top + 0.14), (0.95, top + 0.22), (0.97, top + 0.32), (heel, top + 0.32)
        )


def _hat(pen: _Pen) -> None:
    """A crown above a brim."""
    brim = pen.between(0.6, 0.68)
    pen.ellipse(pen.between(0.2, 0.28), 0.2, pen.between(0.72, 0.8), 0.98)
    pen.detail((0, brim + 0.1), (1, brim + 0.1), (1, 1), (0, 1))
    pen.ellipse(0.0, brim, 1.0, brim + 0.16)


KINDS: dict[str, Callable[[_Pen], None]] = {
    "dress": _dress,
    "hat": _hat,
    "longsleeve": _longsleeve,
    "outwear": _outwear,
    "pants": _pants,
    "shirt": _shirt,
    "shoes": _shoes,
    "shorts": _shorts,
    "skirt": _skirt,
    "t-shirt": _t_shirt,
}
