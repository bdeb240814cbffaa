"""`dicom-node bundle`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.inference.bundle import load_bundle

if TYPE_CHECKING:
    import argparse


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: --config is all it needs."""


def run(arguments: argparse.Namespace) -> int:
    """Verify the configured bundle and print what it is; 1 with one line where it may not be used."""
    analysis = configuration.load(arguments.config).analysis
    bundle = load_bundle(analysis.bundle, analysis.bundle_sha256 or None)
    manifest, gate = bundle.manifest, bundle.gate
    print(f"{manifest.title}: {manifest.name} {manifest.version}, verified")
    print(f"digest        {bundle.sha256}")
    print(f"gate          {gate.policy.value}: negative below {gate.p_low:.3f}, positive from {gate.p_high:.3f}")
    for region in gate.regions:
        told = "too few fractures to certify: inconclusive only" if region.p_low is None else f"{region.p_low:.3f}"
        print(f"  {region.name:<12}{told}")
    print(f"intended use  {bundle.intended_use.statement}")
    if manifest.demonstration:
        print("A demonstration model: not for clinical use.")
    return 0
