"""Plans beside a bundle: never used but with exactly their key, their bytes and a passed acceptance."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from dicom_node.core.errors import BundleError
from dicom_node.inference import plans
from dicom_node.inference.acceptance import Acceptance
from dicom_node.inference.bundle import load_bundle

PASSED = Acceptance("a", "b", images=64, unfinished=0, cosine=1.0, logit=0.0, probability=0.0, peaks=1.0, outcomes=1.0)
KEY = plans.PlanKey(
    tensorrt="10.3.0",
    gpu="Orin",
    sm="8.7",
    platform="L4T 36.4.3",
    onnx_sha256="ab" * 32,
    precision="float",
    shapes="image 1x1x512x512",
    flags="STRONGLY_TYPED",
)


def facts(plan=b"plan", key=KEY, acceptance=PASSED):
    return plans.PlanFacts(key, hashlib.sha256(plan).hexdigest(), len(plan), "2026-01-01", 1.5, 100, acceptance, 0.5)


def test_a_plan_is_found_again_and_the_bundle_stays_whole(make_bundle):
    folder = make_bundle()
    before = load_bundle(folder).sha256
    plans.save(folder, facts(), b"plan", b"cache")
    assert plans.accepted(folder, KEY) == facts()
    assert plans.read_plan(folder, facts()) == b"plan"
    assert plans.timing_cache(folder) == b"cache"
    assert load_bundle(folder).sha256 == before
    (folder / ".embedder-x.plan.partial.plan").write_bytes(b"half")  # a build that was killed
    assert load_bundle(folder).sha256 == before
    assert plans.saved(folder) == (facts(),)


@pytest.mark.parametrize(
    "part", [field.name for field in dataclasses.fields(plans.PlanKey) if field.name != "precision"]
)
def test_a_plan_that_differs_in_any_part_of_its_key_is_not_used_and_the_part_is_named(tmp_path, part):
    plans.save(tmp_path, facts(), b"plan", b"")
    with pytest.raises(BundleError) as error:
        plans.accepted(tmp_path, dataclasses.replace(KEY, **{part: "other"}))
    said = str(error.value)
    assert f"{plans._WORDS[part]} was {getattr(KEY, part)[:40]}, is other" in said
    assert said.count(" was ") == 1
    assert "engine build" in said


def test_the_digest_of_a_network_is_that_of_its_graph_and_of_weights_beside_it(make_bundle):
    bundle = load_bundle(make_bundle())
    graph = bundle.embedder_path.read_bytes()
    assert plans.network_sha256(bundle) == hashlib.sha256(graph).hexdigest()
    data = bundle.embedder_path.with_name(f"{bundle.embedder_path.name}.data")
    found = set()
    for weights in (b"weights", b"others"):
        data.write_bytes(weights)
        found.add(plans.network_sha256(bundle))
    assert found == {hashlib.sha256(graph + weights).hexdigest() for weights in (b"weights", b"others")}


def test_every_part_makes_another_name():
    names = {dataclasses.replace(KEY, **{field.name: "other"}).name for field in dataclasses.fields(KEY)}
    assert len(names | {KEY.name}) == 9
    assert set(plans._WORDS) == {field.name for field in dataclasses.fields(KEY)}


@pytest.mark.parametrize(
    ("acceptance", "said"),
    [(None, "never tried"), (dataclasses.replace(PASSED, logit=0.06), "failed its acceptance test .logits differ")],
)
def test_a_plan_without_a_passed_acceptance_is_not_used(tmp_path, acceptance, said):
    with pytest.raises(BundleError, match="no TensorRT plan was built"):
        plans.accepted(tmp_path, KEY)
    plans.save(tmp_path, facts(acceptance=acceptance), b"plan", b"")
    with pytest.raises(BundleError, match=said):
        plans.accepted(tmp_path, KEY)


def test_a_plan_that_was_altered_or_removed_is_not_read(tmp_path):
    plans.save(tmp_path, facts(), b"plan", b"")
    path = tmp_path / f"embedder-{KEY.name}.plan"
    path.write_bytes(b"plam")
    with pytest.raises(BundleError, match="altered since"):
        plans.read_plan(tmp_path, facts())
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        plans.read_plan(tmp_path, facts())


def test_facts_that_cannot_be_read_count_as_no_plan(tmp_path):
    (tmp_path / f"embedder-{KEY.name}.facts.plan").write_text('{"key": 1}')
    assert plans.saved(tmp_path) == ()


def test_only_the_named_plans_and_leftovers_are_removed(tmp_path):
    other = dataclasses.replace(KEY, tensorrt="10.7.0")
    plans.save(tmp_path, facts(), b"plan", b"cache")
    plans.save(tmp_path, facts(key=other), b"plan", b"cache")
    (tmp_path / ".embedder-x.partial.plan").write_bytes(b"half")
    assert len(plans.remove(tmp_path, frozenset({other.name}))) == 3
    assert plans.saved(tmp_path) == (facts(),)
    assert plans.timing_cache(tmp_path) == b"cache"


def test_a_plan_without_facts_that_can_be_read_is_a_leftover_and_removed(tmp_path):
    plans.save(tmp_path, facts(), b"plan", b"cache")
    left = ("embedder-0123456789abcdef.plan", "embedder-fedcba9876543210.facts.plan", "embedder-fedcba9876543210.plan")
    for name in left:  # a build that was killed before its facts were written, and facts that were cut short
        (tmp_path / name).write_bytes(b"half")
    assert plans.remove(tmp_path, frozenset()) == left
    assert plans.read_plan(tmp_path, plans.accepted(tmp_path, KEY)) == b"plan"
    assert len(plans.remove(tmp_path, frozenset({KEY.name}))) == 2


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(BundleError, match="cannot be written"):
        plans.save(tmp_path / "none", facts(), b"plan", b"")


def test_missing_modules_are_named_without_importing_any(device):  # noqa: ARG001 - the double is installed
    assert plans.missing_modules() == ()


def test_without_tensorrt_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setattr(plans, "MODULES", ("no_such_module",))
    with pytest.raises(BundleError, match=r"no_such_module.*docs/jetson\.md"):
        plans.require_modules()
