"""The acceptance test as a command runs it: the plan against ONNX Runtime on the processor, the result kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dicom_node.cli.engine.images import DRAWN, trial_images
from dicom_node.core.errors import WorkerCrashed
from dicom_node.inference import known_answer, plans
from dicom_node.inference.acceptance import Acceptance, compare
from dicom_node.inference.onnx_embedder import OnnxEmbedder

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.inference.bundle import Bundle


def try_plan(bundle: Bundle, facts: plans.PlanFacts, images: Path | None) -> bool:
    """Run the acceptance test on a plan, keep its result beside it and print it; returns whether it passed.

    A result of an earlier test is forgotten before this one begins. Raises BundleError and WorkerCrashed.
    """
    from dicom_node.inference.tensorrt_embedder import TensorRtEmbedder  # noqa: PLC0415 - absent on most machines

    plans.save_facts(bundle.folder, replace(facts, acceptance=None, known_logit=None))
    print(f"acceptance test on {images or DRAWN}")
    embedder = TensorRtEmbedder(bundle, plans.read_plan(bundle.folder, facts))
    reference = OnnxEmbedder(bundle, threads=0)
    try:
        acceptance = compare(bundle, reference, embedder, trial_images(images))
        known = known_answer.answer(bundle, embedder)
    except WorkerCrashed as error:
        message = f"{error} during the acceptance test; the plan is not used. End other programs and run it again"
        raise WorkerCrashed(message) from None
    finally:
        reference.close()
        embedder.close()
    plans.save_facts(bundle.folder, replace(facts, acceptance=acceptance, known_logit=known))
    print_acceptance(acceptance)
    return acceptance.passed


def print_acceptance(acceptance: Acceptance) -> None:
    """Print what was measured, and what of it is out of bounds."""
    print(f"  {acceptance.images} images, {acceptance.candidate} against {acceptance.reference}")
    print(f"  features: least cosine {acceptance.cosine:.6f}")
    print(f"  largest differences: logit {acceptance.logit:.5f}, probability {acceptance.probability:.5f}")
    print(f"  same peak {acceptance.peaks:.1%}, same outcome {acceptance.outcomes:.1%}")
    for problem in acceptance.problems:
        print(f"  out of bounds: {problem}")
    print("accepted" if acceptance.passed else "NOT accepted: the node stays on ONNX Runtime")
