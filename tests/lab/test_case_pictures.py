"""Best and worst cases: the right images, in the right order, with boxes and the model's map where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.core.radiograph import EvidenceMap, InputGeometry
from dicom_node.lab import case_pictures
from dicom_node.lab.case_pictures import MODEL, TRUE, Look, Marks, Scored

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.array([True, True, True, False, False, False])
P = np.array([0.6, 0.9, 0.2, 0.8, 0.1, 0.3])


def _scored(folder: Path) -> Scored:
    paths = []
    for index in range(6):
        paths.append(folder / f"case-{index}.png")
        cv2.imwrite(str(paths[-1]), np.full((280, 140), 20 * index + 60, dtype=np.uint8))
    return Scored(paths, LABELS, P)


def _near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere(np.abs(picture.astype(int) - colour).max(axis=2) < 12)


def test_cases_are_the_surest_and_the_worst_in_order() -> None:
    found = {kind: rows.tolist() for kind, rows in case_pictures.choose(LABELS, P)}
    assert found == {
        "surest hits": [1, 0],
        "worst misses": [2],
        "worst false alarms": [3],
        "surest correct negatives": [4, 5],
    }
    one = case_pictures.choose(LABELS, P, Look(count=1, threshold=0.25))
    assert [rows.tolist() for _, rows in one] == [[1], [2], [3], [4]]


def test_a_sheet_shows_boxes_and_the_map_in_their_colours_and_asks_for_no_more(tmp_path: Path) -> None:
    asked: list[int] = []
    values = np.zeros((4, 4), dtype=np.float32)
    values[2, 1] = 1.0
    shown = EvidenceMap(
        values, np.ones((4, 4), bool), InputGeometry(280, 140, 64, 64, 64 / 280, 64 / 140, 0, 0), "evidence"
    )

    def marks(row: int) -> Marks:
        asked.append(row)
        return Marks(((35.0, 140.0, 35.0, 70.0),), shown) if row == 1 else Marks()

    target = case_pictures.contact_sheet(tmp_path / "sheets" / "cases.png", _scored(tmp_path), marks)
    assert asked == [1, 0, 2, 3, 4, 5]
    picture = cv2.cvtColor(cv2.imread(str(target)), cv2.COLOR_BGR2RGB)
    assert picture.shape[1] == 1000
    # The first tile is drawn at full size, 280 x 140, below legend and heading. The map's cell (2, 1) is the box.
    top, left = 68, 8
    for colour, beyond in ((TRUE, 3), (MODEL, 0)):
        where = _near(picture[top - 5 : top + 280, left : left + 240], colour) - (5, 0)
        (low_y, low_x), (high_y, high_x) = where.min(0), where.max(0)
        assert (low_y, low_x) == pytest.approx((140 - beyond, 35 - beyond), abs=2)
        assert (high_y, high_x) == pytest.approx((210 + beyond, 70 + beyond), abs=2)
    # No other tile has marks.
    assert len(_near(picture[top - 5 :, left + 245 :], MODEL)) == 0


def test_a_kind_without_cases_and_a_lost_file_are_said_not_drawn(tmp_path: Path) -> None:
    scored = _scored(tmp_path)
    scored.paths[1].unlink()
    whole = case_pictures.contact_sheet(tmp_path / "a.png", scored, lambda _: Marks())
    nobody = Scored(scored.paths, np.ones(6, bool), np.ones(6))
    hits_only = case_pictures.contact_sheet(tmp_path / "b.png", nobody, lambda _: Marks(), Look(count=6))
    tall, short = (cv2.imread(str(path)).shape[0] for path in (whole, hits_only))
    assert tall > 4 * 280 > short > 280
