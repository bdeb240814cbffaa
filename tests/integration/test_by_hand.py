"""Whatever a person does to the node is a record in its audit trail; and to try again means to try now."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from dicom_node.cli import main as program
from dicom_node.ledger.overview import Overview
from tests.support.node import Node, command
from tests.support.waiting import free_port, until
from tests.support.walk import Walk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

READY, DEAD = "1.2.1", "1.2.2"
#: What is done by hand, and the record that must tell of it; {folder} is the node's.
DONE = (
    (("reload",), "node.reloaded"),
    (("queue", "park"), "queue.parked"),
    (("queue", "retry"), "queue.retried"),
    (("queue", "drain", "--wait-s", "0"), "node.paused"),
    (("queue", "resume"), "node.resumed"),
    (("purge", DEAD), "study.purged"),
    (("dead", "replay"), "queue.revived"),
    (("backup", "{folder}/backup"), "backup.made"),
    (("bundle", "switch", "{folder}/bundle"), "bundle.switched"),
)


@pytest.fixture(scope="module")
def node(tmp_path_factory, bundle):
    """A node with one result that waits for a PACS which is down, and one that was given up."""
    folder = tmp_path_factory.mktemp("by-hand")
    made = Node(folder, bundle).sends_to("pacs", "PACS", free_port(), retry_first_s=600.0, retry_longest_s=600.0)
    (folder / "bundle").symlink_to(bundle)
    Walk(made.state_dir, lambda _uid: None, lambda _uid: None, time.time() - 3600.0).run()
    with closing(sqlite3.connect(made.state_dir / "ledger.sqlite", isolation_level=None)) as ledger:
        for state, uid in (("ready", READY), ("dead", DEAD)):
            ledger.execute(
                "UPDATE delivery SET state = ?, done_at = NULL, attempts = 0, run_after = 0, created_at = ?"
                " WHERE study_id = (SELECT id FROM study WHERE study_instance_uid = ?)",
                (state, time.time(), uid),
            )
    with made:
        yield made


def records(node: Node) -> list[str]:
    return [record.event for record in Overview(node.state_dir / "ledger.sqlite").trail()]


def run(node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    line = [command(), *(word.format(folder=node.folder) for word in words), "--config", str(node.config)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def test_retry_asks_a_destination_now_that_was_left_alone_after_a_failure(node):
    def attempts() -> int:
        return node.study(READY)["deliveries"][0]["attempts"]

    before = until(attempts, 60, "the PACS was tried in vain")
    assert run(node, "queue", "retry").stdout.endswith("pacs, left alone after a failure, asked again now\n")
    until(lambda: attempts() > before, 60, "it is tried at once, and not in ten minutes")


@pytest.mark.parametrize(("words", "event"), DONE, ids=[" ".join(words[:2]) for words, _ in DONE])
def test_what_is_done_by_hand_is_in_the_audit_trail(node, words, event):
    before = records(node).count(event)
    done = run(node, *words)
    assert records(node).count(event) == before + 1, done.stderr
    assert node.ask("audit", "verify")["problem"] is None


def test_a_changed_setting_is_told_by_its_name(node):
    node.config.write_text(node.config.read_text().replace("quiet_s = 1.0", "quiet_s = 2.0"))
    assert run(node, "reload").returncode == 0
    last = [one for one in Overview(node.state_dir / "ledger.sqlite").trail() if one.event == "configuration.changed"]
    assert last[-1].detail == "changed: study.quiet_s"


def test_while_the_node_is_stopped_it_is_written_all_the_same(node: Node, tmp_path: Path):
    node.stop()
    for number, words in enumerate((("backup", str(tmp_path / "b")), ("bundle", "switch", "{folder}/bundle"))):
        assert run(node, *words).returncode == 0
        assert records(node)[-1 - number :][0] in {"backup.made", "bundle.switched"}
    assert node.ask("audit", "verify")["problem"] is None
    restored = tmp_path / "restored.toml"
    restored.write_text(f"[node]\nstate_dir = '{tmp_path / 'state'}'\n")
    assert program.main(["restore", str(tmp_path / "b"), "--config", str(restored)]) == 0
    assert [one.event for one in Overview(tmp_path / "state" / "ledger.sqlite").trail()][-1] == "ledger.restored"
