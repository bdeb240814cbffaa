"""Text and shapes on a page: one font, few colours, lines that wrap or end in dots but never run out of their box."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicom_node.core.findings import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]

# Dark, since reading rooms are: a white page next to a radiograph blinds.
BACKGROUND: Colour = (16, 17, 19)
PANEL: Colour = (28, 29, 32)
RULE: Colour = (66, 68, 72)
TEXT: Colour = (230, 230, 228)
MUTED: Colour = (166, 168, 172)
#: Told apart by lightness too, and by the word beside it: no meaning hangs on hue. No green: a negative is not "safe".
ACCENTS: dict[Outcome, Colour] = {
    Outcome.POSITIVE: (244, 148, 76),
    Outcome.INCONCLUSIVE: (232, 208, 120),
    Outcome.NEGATIVE: (134, 174, 206),
    Outcome.NOT_ANALYSED: (150, 152, 156),
}


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's bundled font (Aileron, CC0) at a size in pixels: no font file of the system is needed."""
    return ImageFont.load_default(size=size)


def printable(text: str) -> str:
    """Return text with what the bundled font cannot draw replaced, instead of empty boxes."""
    return text.encode("latin-1", errors="replace").decode("latin-1")


class Sheet:
    """A page under construction; positions and sizes in pixels."""

    def __init__(self, width: int, height: int, colour: Colour = BACKGROUND) -> None:
        self.image = Image.new("RGB", (width, height), colour)
        self.draw = ImageDraw.Draw(self.image)

    def paste(self, picture: NDArray[np.uint8], x: int, y: int) -> None:
        """Put an RGB picture with its upper left corner here."""
        self.image.paste(Image.fromarray(picture), (x, y))

    def pixels(self, rows: int) -> NDArray[np.uint8]:
        """Return the page's uppermost rows as RGB."""
        return np.asarray(self.image.crop((0, 0, self.image.width, rows)))

    def box(self, corners: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill (left, top, right, bottom)."""
        self.draw.rectangle(corners, fill=colour)


def width_of(text: str, size: int) -> int:
    """Return how wide a line is."""
    return int(font(size).getlength(printable(text))) + 1


def shortened(text: str, size: int, width: int) -> str:
    """Return the text, cut with dots where it is wider than its box."""
    if width_of(text, size) <= width:
        return text
    kept = text
    while kept and width_of(f"{kept}...", size) > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}..."


def wrapped(text: str, size: int, width: int, lines: int) -> list[str]:
    """Break a text into at most so many lines; the last one ends in dots where something is left."""
    result: list[str] = []
    words = text.split()
    while words and len(result) < lines:
        line = words.pop(0)
        while words and width_of(f"{line} {words[0]}", size) <= width:
            line = f"{line} {words.pop(0)}"
        result.append(line)
    if words:
        result[-1] = f"{result[-1]} {' '.join(words)}"
    return [shortened(line, size, width) for line in result]


class Column:
    """A column of text that flows downwards."""

    def __init__(self, sheet: Sheet, x: int, y: int, width: int) -> None:
        self.sheet = sheet
        self.x = x
        self.y = y
        self.width = width

    def line(self, text: str, size: int, colour: Colour = TEXT, bold: int = 0) -> None:
        """Write one line, cut where it is too wide; bold: extra stroke in pixels (the bundled font has one weight)."""
        cut = printable(shortened(text, size, self.width - 2 * bold))
        self.sheet.draw.text((self.x, self.y), cut, font=font(size), fill=colour, stroke_width=bold, stroke_fill=colour)
        self.y += round(size * 1.32)

    def paragraph(self, text: str, size: int, colour: Colour = TEXT, lines: int = 3) -> None:
        """Write several lines at most."""
        for line in wrapped(text, size, self.width, lines):
            self.line(line, size, colour)

    def gap(self, height: float) -> None:
        """Leave room."""
        self.y += round(height)

    def rule(self) -> None:
        """Draw a thin line across the column."""
        self.sheet.box((self.x, self.y, self.x + self.width, self.y), RULE)
        self.y += 1


def write(sheet: Sheet, at: tuple[float, float], text: str, size: int, colour: Colour = TEXT) -> None:
    """Write one line at a place, as it is."""
    sheet.draw.text(at, printable(text), font=font(size), fill=colour)


def anchored(
    text: str, size: int, x: float, bounds: tuple[float, float], side: Literal["left", "right", "middle"]
) -> float:
    """Return where a label must start to hang at x on its side and stay within bounds."""
    width = width_of(text, size)
    start = {"left": x, "middle": x - width / 2, "right": x - width}[side]
    return max(bounds[0], min(start, bounds[1] - width))
