"""A decoded radiograph and the geometry that ties a model's input to its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One projection image as a reader sees it.

    grey: uint16 [rows, columns], 0 = black and 65535 = white, after Modality LUT, VOI and polarity
    (PS3.4 N.2), so bone is bright whatever the photometric interpretation was.
    """

    grey: NDArray[np.uint16]

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.grey.shape[0])

    @property
    def columns(self) -> int:
        """Width in pixels."""
        return int(self.grey.shape[1])


@dataclass(frozen=True, slots=True)
class InputGeometry:
    """How a model's input plane lies on the original image.

    Coordinates are continuous pixel edges (0 is the left or upper edge of the first pixel, so a pixel's centre is at
    +0.5): ``input = image * scale + pad``. Stretch, letterbox and crop are all of this form.
    """

    image_rows: int
    image_columns: int
    input_rows: int
    input_columns: int
    scale_y: float
    scale_x: float
    pad_top: float
    pad_left: float

    def to_image(self, y: float, x: float) -> tuple[float, float]:
        """Return the image's (row, column) edge coordinates of an input position, clipped to the image."""
        row = (y - self.pad_top) / self.scale_y
        column = (x - self.pad_left) / self.scale_x
        return min(max(row, 0.0), float(self.image_rows)), min(max(column, 0.0), float(self.image_columns))

    @property
    def content(self) -> tuple[float, float, float, float]:
        """Return (top, left, bottom, right) of the image inside the input plane, in input pixels."""
        return (
            self.pad_top,
            self.pad_left,
            self.pad_top + self.image_rows * self.scale_y,
            self.pad_left + self.image_columns * self.scale_x,
        )


@dataclass(frozen=True, slots=True)
class EvidenceMap:
    """A map of evidence on the model's own grid, with the geometry that lays it on the image.

    values: float32 [grid rows, grid columns], signed: positive speaks for a fracture. body: bool, same shape, true
    where the cell lies on the body. kind: "evidence" where the map sums to the score (the attribution of record),
    "localiser" where a head trained on boxes made it. The grid covers the whole input plane, cell by cell.
    """

    values: NDArray[np.float32]
    body: NDArray[np.bool_]
    geometry: InputGeometry
    kind: str
