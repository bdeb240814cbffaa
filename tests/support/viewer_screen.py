"""What a person does in front of OHIF: open a study, look at the list of series, open one, turn its pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from tests.support.viewer_pictures import likeness
from tests.support.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
ALIKE = 0.95
_SERIES = '[data-cy^="study-browser-thumbnail"]'
_WAIT_S = 90.0


def keep(page: Page, name: str) -> None:
    """Keep a screenshot for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def shows(viewport: Locator, picture: Dataset) -> None:
    """Wait until a viewport shows a picture; raises TimeoutError where it does not."""

    def is_alike() -> bool:
        return likeness(viewport.screenshot(), picture) > ALIKE

    until(is_alike, _WAIT_S, f"the viewport shows instance {picture.InstanceNumber} of the series", every_s=0.3)


class Ohif:
    """One window with OHIF in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._steps = 0
        self.viewport = page.locator("canvas").first
        page.set_default_timeout(_WAIT_S * 1000)
        page.add_locator_handler(page.get_by_text("Skip all"), lambda button: button.first.click())  # the guided tour

    def open(self, url: str, wanted: set[str]) -> None:
        """Open a study and wait until these series are listed and the first image is drawn."""
        self.page.goto(url)
        until(lambda: wanted <= set(self.series()), _WAIT_S, f"listed are {', '.join(sorted(wanted))}")
        self.viewport.wait_for()

    def series(self) -> dict[str, str]:
        """Return the listed series: description to modality."""
        listed = self.page.locator(_SERIES)
        described = listed.locator('[data-cy="series-description-label"]').all_inner_texts()
        modalities = listed.locator('[data-cy="series-modality-label"]').all_inner_texts()
        return dict(zip(described, modalities, strict=False))

    def open_series(self, description: str) -> None:
        """Put a series into the viewport, by a double click as people do."""
        label = self.page.locator('[data-cy="series-description-label"]').get_by_text(description, exact=True)
        self.page.locator(_SERIES).filter(has=label).dblclick()

    def lines(self) -> list[str]:
        """Return the lines of text in the viewports, those beside drawn outlines too.

        The mouse moves a little: at times OHIF draws an outline only then.
        """
        self._steps += 1
        self.page.mouse.move(700 + self._steps % 2, 500)
        shown = self.page.locator('[data-cy="viewport-grid"]')
        drawn = shown.locator("svg text tspan").all_text_contents()
        lines = [*shown.inner_text().splitlines(), *drawn]
        return [line.replace("\xa0", " ") for line in lines]

    def next_page(self) -> None:
        """Turn to the next image of the series."""
        self.viewport.hover()
        self.page.mouse.wheel(0, 100)
