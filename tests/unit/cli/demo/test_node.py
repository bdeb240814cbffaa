from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node import settings
from dicom_node.cli.demo.node import NodeProcess, Seen
from dicom_node.cli.demo.pacs import DemoError
from dicom_node.dimse.scu import Peer


def lines(*events: dict[str, str]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def test_the_log_tells_the_stage() -> None:
    seen = Seen()
    for line in lines(
        {"event": "instance.stored", "role": "view"},
        {"event": "instance.stored", "role": "kept"},
        {"event": "image.analysed"},
        {"event": "study.closed"},
        {"event": "result.published"},
        {"event": "delivery.done"},
        {"event": "bundle.refused", "level": "error"},
    ):
        seen.note(line)
    assert (seen.received, seen.analysed, seen.closed, seen.composed, seen.delivered) == (1, 1, 1, 1, 1)
    assert (seen.events, seen.trouble) == (7, "bundle.refused")


@pytest.mark.parametrize("line", [b"", b"Traceback (most recent call last):", b'"text"', b"[1]", b"\xff"])
def test_a_line_that_is_no_event_is_passed_over(line: bytes) -> None:
    seen = Seen()
    seen.note(line)
    assert seen.events == 0


def test_the_configuration_that_is_written_is_a_valid_one(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" folder'
    folder.mkdir()
    process = NodeProcess(folder, 11113, tmp_path / "bundle", 1.5)
    (folder / "dicom-node.toml").write_text(process._configuration(Peer("P", "127.0.0.1", 104)), encoding="utf-8")
    loaded = settings.load(folder / "dicom-node.toml")
    assert (loaded.node.port, loaded.study.quiet_s) == (11113, 1.5)
    assert loaded.analysis.bundle == tmp_path / "bundle"
    assert loaded.node.state_dir == folder / "state"
    assert [item.ae_title for item in loaded.destinations] == ["P"]


def test_a_node_that_ends_at_once_is_one_line_with_its_log(tmp_path: Path) -> None:
    process = NodeProcess(tmp_path, 11113, tmp_path / "bundle", -1.0)  # a quiet period that settings refuse
    with pytest.raises(DemoError, match=r"quiet_s.*node\.log"):
        process.start(Peer("P", "127.0.0.1", 104))
    process.stop()
