"""What a screenshot shows, compared with the page that it should show."""

from __future__ import annotations

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGLSLossless

_BLUR = (0, 0), 5.0  # pixels: viewers scale in ways of their own, and letters are thin
_CLEAR = (0.14, 0.88)  # rows between the viewers' own lines of text, as shares of the height


def likeness(screenshot: bytes, page: Dataset) -> float:
    """Return the correlation (1: the same) of a viewport's picture with a page that fills it, as viewers fit it.

    screenshot: a PNG of the viewport; page: a Secondary Capture. Compared is the part free of the viewers' own texts.
    """
    shown = cv2.imdecode(np.frombuffer(screenshot, np.uint8), cv2.IMREAD_COLOR)
    expected, left = _fitted(page, shown.shape[0], shown.shape[1])
    shown, expected = cv2.GaussianBlur(shown, *_BLUR), cv2.GaussianBlur(expected, *_BLUR)
    top, bottom = (round(share * shown.shape[0]) for share in _CLEAR)
    area = (slice(top, bottom), slice(left, shown.shape[1] - left))
    return float(np.corrcoef(shown[area].ravel(), expected[area].ravel())[0, 1])


def _fitted(page: Dataset, height: int, width: int) -> tuple[NDArray[np.float32], int]:
    """Return the page in BGR, as large as fits and in the middle, and how far from the left it begins."""
    picture = _pixels(page)[..., ::-1].astype(np.float32)
    rows, columns = picture.shape[:2]
    scale = min(height / rows, width / columns)
    fitted = cv2.resize(picture, (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.float32)
    y, x = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
    canvas[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted
    return canvas, x


def _pixels(page: Dataset) -> NDArray[np.uint8]:
    if page.file_meta.TransferSyntaxUID == JPEGLSLossless:  # pydicom asks for a package more
        (frame,) = generate_frames(page.PixelData, number_of_frames=1)
        return imagecodecs.jpegls_decode(frame)
    return page.pixel_array
