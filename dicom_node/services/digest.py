"""Which bundle is installed: asked by node and worker alike, without loading a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import BundleError
from dicom_node.inference.bundle_digest import bundle_digest

if TYPE_CHECKING:
    from dicom_node.settings import AnalysisSettings

log = structlog.get_logger(__name__)

NO_BUNDLE = "none"
"""Stands for the digest where there is no readable bundle; images are then answered "not analysed"."""


def installed_bundle(settings: AnalysisSettings) -> str:
    """Return the digest of the configured bundle, or "none" where it cannot be read."""
    try:
        return bundle_digest(settings.bundle)
    except BundleError as error:
        log.error("bundle.unreadable", reason=str(error))  # noqa: TRY400 - said in one line
        return NO_BUNDLE
