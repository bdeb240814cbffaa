"""No usable model means "not analysed", with the reason in the report, and never a number."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from tests.support.system import System, result_problems

pytestmark = pytest.mark.timeout(300)


def no_bundle(folder: Path) -> None:
    shutil.rmtree(folder)


def one_byte_changed(folder: Path) -> None:
    weights = folder / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def wrong_shape(folder: Path) -> None:
    """A bundle whose digests are right and whose head does not fit its embedder."""
    manifest = folder / "manifest.toml"
    text = manifest.read_text()
    changed = re.sub(r"(?m)^channels = (\d+)", lambda found: f"channels = {int(found[1]) + 1}", text)
    assert changed != text
    manifest.write_text(changed)
    sums = folder / "SHA256SUMS"
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    sums.write_text(re.sub(r"(?m)^[0-9a-f]{64}(  \*?manifest\.toml)$", rf"{digest}\1", sums.read_text()))


@pytest.mark.usefixtures("orthanc_installed")
@pytest.mark.parametrize("damage", [no_bundle, one_byte_changed, wrong_shape], ids=lambda f: f.__name__)
def test_the_report_says_why_and_holds_no_number(tmp_path, bundle, factory, damage):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    damage(copy)
    study = factory.study(views=2)
    with System(tmp_path / "system", copy) as system:
        system.upload(study)
        listed, report = system.wait_result(study)
        assert (report.outcome, report.probability, report.numbers) == ("not-analysed", None, 0)
        assert "model" in report.text.lower()
        assert result_problems(system, study) == []
        version = listed["versions"][0]
        assert (version["outcome"], version["probability"]) == ("not-analysed", None)
        assert version["reason_code"] == "no-usable-model"
        assert any(event.get("level") in {"error", "warning"} for event in system.node.events("bundle.refused"))
