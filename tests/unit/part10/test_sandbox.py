from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dicom_node.core.errors import NotAnalysable, WorkerCrashed
from dicom_node.core.findings import ReasonCode
from dicom_node.part10.decode import decode
from dicom_node.part10.sandbox import DecodeLimits, DecodePool
from tests.support.waiting import until

HERE = Path(__file__).parent


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecodePool]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    limits = DecodeLimits(memory_bytes=1024**3, cpu_s=1, wall_s=6.0)
    with DecodePool(limits, target="decode_targets:misbehave") as pool:
        yield pool


@pytest.fixture
def order(tmp_path: Path) -> Iterator[object]:
    def write(text: str) -> Path:
        path = tmp_path / text
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("fault", "words"),
    [("die", "signal 9"), ("hang", "too long"), ("spin", "too long"), ("grow", "memory"), ("raise", "status 1")],
)
def test_case_c30_a_fault_costs_one_child_and_the_next_image_is_decoded(pool, order, fault, words) -> None:
    before = int(pool.decode(order("fine")).grey[0, 0])
    assert int(pool.decode(order("fine")).grey[0, 0]) == before
    with pytest.raises(NotAnalysable, match=words) as caught:
        pool.decode(order(fault))
    assert caught.value.reason.code is ReasonCode.UNDECODABLE
    after = int(pool.decode(order("fine")).grey[0, 0])
    assert after != before


def test_a_child_killed_between_two_images_is_replaced(pool, order) -> None:
    pool.decode(order("fine"))
    os.kill(pool._child.pid, 9)
    os.waitid(os.P_PID, pool._child.pid, os.WEXITED | os.WNOWAIT)
    assert pool.decode(order("fine")).grey.shape == (3, 5)


def test_what_a_library_prints_does_not_disturb_the_answer(pool, order) -> None:
    assert pool.decode(order("print")).grey.shape == (3, 5)


def test_the_processor_limit_holds_for_each_image_and_not_for_all(pool, order) -> None:
    for _ in range(3):
        with pytest.raises(NotAnalysable, match="too long"):
            pool.decode(order("spin"))


def test_the_child_loads_no_runtime_and_no_network(pool, order) -> None:
    assert int(pool.decode(order("imports")).grey[0, 0]) == 0


def test_a_child_that_cannot_start_may_be_tried_again(order) -> None:
    with DecodePool(target="no_such_module:decode") as pool, pytest.raises(WorkerCrashed, match="installation"):
        pool.decode(order("fine"))


def test_the_child_ends_with_its_parent() -> None:
    script = textwrap.dedent("""
        import os, signal
        from dicom_node.part10.sandbox import DecodePool
        pool = DecodePool()
        pool.warm_up()
        print(pool._child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    child = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).stdout)
    until(lambda: not _alive(child), 60, "the decoder has ended with its parent")


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_pixels_and_refusals_are_the_same_through_the_sandbox(write_image) -> None:
    image, empty = write_image(), write_image(PixelData=None)
    with DecodePool() as pool:
        assert np.array_equal(pool.decode(image).grey, decode(image).grey)
        with pytest.raises(NotAnalysable) as caught:
            pool.decode(empty)
    assert caught.value.reason.code is ReasonCode.NO_PIXELS


@pytest.mark.timeout(300)
def test_cases_c22_to_c31_every_public_file_is_decoded_or_refused(shared_data: Path) -> None:
    outcomes: Counter[str] = Counter()
    with (shared_data / "dicom" / "manifest.csv").open(newline="") as stream, DecodePool() as pool:
        for row in csv.DictReader(stream):
            try:
                grey = pool.decode(shared_data / "dicom" / row["file"]).grey
            except NotAnalysable as refused:
                outcomes["child lost" if "the decoder" in refused.reason.text else refused.reason.code.value] += 1
            else:
                assert grey.shape == (int(row["rows"]), int(row["cols"])), row["file"]
                outcomes["decoded"] += 1
    assert sum(outcomes.values()) == 374
    # One JPEG-LS file is beyond the imagecodecs that Python 3.10 gets.
    assert outcomes["decoded"] == (157 if sys.version_info >= (3, 11) else 156)
    assert outcomes["child lost"] == 0
