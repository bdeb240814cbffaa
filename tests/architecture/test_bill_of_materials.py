"""The bill of materials lists every distribution that a lock names, with every hash, and every file of every model."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "bill_of_materials.py"
# CycloneDX 1.6: what a component may be, and the fields that each of the objects used here must have.
KINDS = {"library", "machine-learning-model", "file", "application"}


@pytest.fixture(scope="module")
def bill():
    return runpy.run_path(str(SCRIPT))["bill"]()


def every_component(bill):
    for component in bill["components"]:
        yield component
        yield from component.get("components", ())


@pytest.mark.parametrize("lock", ["serve", "dev", "cxr"])
def test_every_line_and_every_hash_of_a_lock_is_listed(bill, lock):
    text = (REPOSITORY / "scripts" / "locks" / f"{lock}.txt").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==(\S+)", text, flags=re.MULTILINE)
    listed = {
        (item["name"], item["version"]): item
        for item in bill["components"]
        if {"name": "dicom-node:lock", "value": lock} in item.get("properties", ())
    }
    assert len(pins) > 40
    assert set(listed) == {(name.replace("_", "-").replace(".", "-"), version) for name, version in pins}
    hashes = {
        digest["content"]
        for item in listed.values()
        for reference in item["externalReferences"]
        for digest in reference["hashes"]
    }
    assert hashes >= set(re.findall(r"sha256:([0-9a-f]{64})", text))


def test_what_setup_installs_without_a_lock_is_listed_too(bill):
    names = {item["name"] for item in bill["components"]}
    text = (REPOSITORY / "scripts" / "setup").read_text()
    assert names >= set(re.findall(r"([a-z-]+)==[0-9]", text)) >= {"torch", "grad-cam"}


def test_only_what_the_node_runs_with_is_required(bill):
    required = {item["bom-ref"] for item in bill["components"] if item.get("scope", "required") == "required"}
    assert required == set(bill["dependencies"][0]["dependsOn"])
    names = {reference.partition("@")[0] for reference in required}
    assert names >= {"pkg:pypi/pydicom", "pkg:pypi/onnxruntime", "model:compact-fracatlas"}
    assert not names & {"pkg:pypi/pytest", "pkg:pypi/torch", "pkg:pypi/scikit-learn"}


def test_every_model_file_is_listed_with_the_digest_it_has(bill):
    models = [item for item in bill["components"] if item["type"] == "machine-learning-model"]
    bundles = sorted(path.parent for path in (REPOSITORY / "engines").glob("*/SHA256SUMS"))
    assert [model["name"] for model in models] == [folder.name for folder in bundles]
    for model, folder in zip(models, bundles, strict=True):
        listed = {item["name"]: item["hashes"][0]["content"] for item in model["components"]}
        assert set(listed) >= {"manifest.toml", "embedder.onnx", "head.safetensors", "SHA256SUMS"}
        for name, digest in listed.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_case_c36_a_model_file_that_changed_makes_no_bill(tmp_path):
    module = runpy.run_path(str(SCRIPT))
    folder = shutil.copytree(REPOSITORY / "engines" / "compact-fracatlas", tmp_path / "engines" / "compact-fracatlas")
    (folder / "NOTICE").write_bytes(b"other")
    module["models"].__globals__["REPOSITORY"] = tmp_path
    with pytest.raises(SystemExit, match="NOTICE"):
        module["models"]()


def test_it_has_the_form_of_cyclonedx_and_is_the_same_twice(bill):
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    references = [item["bom-ref"] for item in every_component(bill)]
    assert len(references) == len(set(references))
    for item in every_component(bill):
        assert item["type"] in KINDS
        assert item["name"]
        assert all(set(one) <= {"license", "expression"} and len(one) == 1 for one in item.get("licenses", ()))
        for digest in item.get("hashes", ()):
            assert (digest["alg"], len(digest["content"])) == ("SHA-256", 64)
    assert json.dumps(bill) == json.dumps(runpy.run_path(str(SCRIPT))["bill"]())
