"""Where the score comes from: maps on the model's own grid, and regions in the image's pixels.

All of it is linear in the features, so no backward pass is needed and it runs behind any engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.findings import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.radiograph import EvidenceMap, InputGeometry
    from dicom_node.inference.bundle import Head

REGIONS_MAX: Final = 3
"""More outlines than this hide the bone."""

_Cell = tuple[int, int]


def evidence_map(features: NDArray[np.float32], head: Head, pool: int) -> NDArray[np.float32]:
    """Return M, float32 [rows, columns] on the native grid: sum(M) + bias is the logit, cell by cell (HiResCAM)."""
    rows, columns, _ = head.weight.shape
    blocks = features.reshape(rows, pool, columns, pool, -1)  # a view: the feature map is never copied
    values = np.einsum("aibjc,abc->aibj", blocks, head.weight) / np.float32(pool * pool)
    return np.asarray(values.reshape(rows * pool, columns * pool), dtype=np.float32)


def localiser_map(features: NDArray[np.float32], head: Head) -> NDArray[np.float32] | None:
    """Return the dense box head's signed logits, float32 [rows, columns], or None where the bundle has no such head.

    Logits and not their sigmoid: positive must mean evidence for a fracture, and a sigmoid is positive everywhere.
    """
    if head.localiser_weight is None:
        return None
    values = features @ head.localiser_weight + np.float32(head.localiser_bias)
    return np.asarray(values, dtype=np.float32)


def peak_cell(shown: EvidenceMap) -> _Cell:
    """Return the strongest cell on the body as (row, column), also where no cell is positive."""
    values = np.where(shown.body, shown.values, -np.inf) if shown.body.any() else shown.values
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return int(row), int(column)


def cell_centre(cell: _Cell, shape: _Cell, geometry: InputGeometry) -> tuple[float, float]:
    """Return a cell's centre as (column, row) in the original image's pixels."""
    row, column = geometry.to_image(
        (cell[0] + 0.5) * geometry.input_rows / shape[0], (cell[1] + 0.5) * geometry.input_columns / shape[1]
    )
    return column, row


def regions(shown: EvidenceMap, alpha: float) -> tuple[Region, ...]:
    """Return the outlines of the active cells, the strongest first and at most REGIONS_MAX of them.

    A cell on the body is active where it reaches alpha times the largest value there; cells that share an edge make one
    region, outlined along their edges: nothing finer than a cell is claimed.
    """
    positive = np.where(shown.body, np.maximum(shown.values, 0.0), 0.0)
    peak = float(positive.max())
    if peak <= 0.0:
        return ()
    parts = _components(positive >= alpha * peak)
    parts.sort(key=lambda cells: max(float(positive[cell]) for cell in cells), reverse=True)
    shape = (positive.shape[0], positive.shape[1])
    return tuple(_outline(cells, shape, shown.geometry) for cells in parts[:REGIONS_MAX])


def _components(active: NDArray[np.bool_]) -> list[set[_Cell]]:
    left: set[_Cell] = {(int(row), int(column)) for row, column in np.argwhere(active)}
    parts: list[set[_Cell]] = []
    while left:
        edge = [left.pop()]
        part = set(edge)
        while edge:
            row, column = edge.pop()
            for neighbour in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if neighbour in left:
                    left.remove(neighbour)
                    part.add(neighbour)
                    edge.append(neighbour)
        parts.append(part)
    return parts


def _outline(cells: set[_Cell], shape: _Cell, geometry: InputGeometry) -> Region:
    height, width = geometry.input_rows / shape[0], geometry.input_columns / shape[1]
    points = []
    for corner in _corners(cells):
        row, column = geometry.to_image(corner[0] * height, corner[1] * width)
        points.append((column, row))
    return Region(tuple(points))


def _corners(cells: set[_Cell]) -> list[_Cell]:
    """Walk the outer edge of connected cells clockwise; return its corners, the first one repeated at the end."""
    start = min(cells)  # its upper left corner lies on the outer edge, never on a hole's, and is met once
    at, step = start, (0, 1)
    corners = [start]
    while at != start or len(corners) == 1:
        at = (at[0] + step[0], at[1] + step[1])
        turned = _turn(at, step, cells)
        if turned != step:
            corners.append(at)
        step = turned
    return corners


def _turn(at: _Cell, step: _Cell, cells: set[_Cell]) -> _Cell:
    """Return the next step along the edge, the cells always on its right: a right turn, straight on, or a left turn.

    Cells that meet only at a corner are passed on the right: they touch, but are not one region.
    """
    right = (step[1], -step[0])
    ahead_right, ahead_left = _cell_ahead(at, step, right), _cell_ahead(at, step, (-right[0], -right[1]))
    if ahead_right not in cells:
        return right
    if ahead_left not in cells:
        return step
    return (-right[0], -right[1])


def _cell_ahead(at: _Cell, step: _Cell, side: _Cell) -> _Cell:
    """Return the cell that touches corner `at`, ahead and on the given side of the walk."""
    row = at[0] + min(step[0] + side[0], 0)
    column = at[1] + min(step[1] + side[1], 0)
    return row, column
