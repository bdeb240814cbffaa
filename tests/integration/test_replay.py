"""A result is made again from what was kept: byte for byte, or the difference is named."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.node import command

pytestmark = pytest.mark.timeout(300)


def replay(config, uid):
    line = [command(), "replay", uid, "--config", str(config), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def of_the_node(system, uid):
    """Return the records of a study, but for those of its delivery and of the proof: they come in their own time."""
    records = system.node.ask("audit", "show", uid)
    return [record["hash"] for record in records if record["event"].partition(".")[0] not in {"delivery", "commitment"}]


def test_a_result_is_made_again_byte_for_byte_and_what_changed_is_named(system, factory, tmp_path):
    study = factory.study(views=2)
    system.upload(study)
    listed, _ = system.wait_result(study)
    uid = study.study_instance_uid
    seen = of_the_node(system, uid)

    code, told = replay(system.node.config, uid)
    assert (code, told["same"], told["differences"]) == (0, True, [])
    assert set(told["files"]) == {item["file"] for item in listed["versions"][0]["objects"]} | {"result.json"}

    changed = tmp_path / "changed.toml"
    changed.write_text(system.node.config.read_text() + "[results]\nseries_number = 8800\n")
    code, told = replay(changed, uid)
    assert (code, told["same"]) == (1, False)
    assert "setting results.series_number: changed since" in told["differences"]
    assert not any("pixels_sha256" in difference for difference in told["differences"])

    code, told = replay(system.node.config, "1.2.3.4.5")
    assert code == 1
    assert "no such published result" in told
    assert of_the_node(system, uid) == seen, "a replay leaves the node's state as it is"
