"""The studies to send and the answers they must get."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from dicom_node.core.findings import StudyFinding
from tests.support import direct
from tests.support.fracatlas import Factory, Study


@dataclass(frozen=True)
class Workload:
    """Studies for the flood, studies to send one at a time after it, and the expected finding of each by its UID."""

    bundle: Path
    studies: tuple[Study, ...]
    singles: tuple[Study, ...]
    expected: dict[str, StudyFinding]
    source: str


def prepare(folder: Path, studies: int, singles: int, bundle: Path, seed: int, console: Console) -> Workload:
    """Write the studies and ask the model about each of them directly, without a node."""
    # A copy, since a bundle that is renewed during the run would be rightly seen as a node that answers wrongly.
    bundle = Path(shutil.copytree(bundle, folder / "bundle"))
    factory = Factory(folder / "studies", seed)
    steps = range(studies + singles)
    made = [
        factory.study()
        for _ in track(steps, "making studies", console=console, transient=True, disable=not console.is_terminal)
    ]
    expected = {
        study.study_instance_uid: direct.analyse(bundle, study.files)
        for study in track(
            made, "asking the model directly", console=console, transient=True, disable=not console.is_terminal
        )
    }
    source = "FracAtlas" if factory.pictures.are_real else "phantoms (FracAtlas is not here)"
    return Workload(bundle, tuple(made[:studies]), tuple(made[studies:]), expected, source)
