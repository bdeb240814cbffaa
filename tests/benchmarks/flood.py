"""Sending all studies through the PACS and waiting for all results, with a progress line for each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.support.fracatlas import Study
from tests.support.system import System


def flood(
    system: System, studies: Sequence[Study], end: float, console: Console, also: Callable[[], None] = lambda: None
) -> None:
    """Give the PACS everything and wait, until `end` (monotonic), for the results; `also` is called every second."""
    images = sum(len(study.files) for study in studies)
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(1) as pool,
    ):
        stored = progress.add_task("in the PACS", total=images)
        received = progress.add_task("in the node", total=images)
        answered = progress.add_task("answered", total=len(studies))
        upload = pool.submit(_upload, system, studies, lambda: progress.advance(stored))
        wanted = {study.study_instance_uid for study in studies}
        next_call = time.monotonic()
        while time.monotonic() < end:
            instances = {event["sop_instance"] for event in system.node.events("instance.stored")}
            done = {event["study"] for event in system.node.events("delivery.done")} & wanted
            progress.update(received, completed=len(instances))
            progress.update(answered, completed=len(done))
            if upload.done() and len(done) == len(studies):
                break
            if time.monotonic() >= next_call:
                also()
                next_call = time.monotonic() + 1
            time.sleep(0.25)
        upload.result()


def _upload(system: System, studies: Sequence[Study], advance: Callable[[], None]) -> None:
    for study in studies:
        for file in study.files:
            system.pacs.upload(file)
            advance()
