"""What a test needs from the machine."""

from __future__ import annotations

import os

import pytest


def require(present: object, what: str) -> None:
    """Skip where something is not installed; in CI that is a failure, since CI installs it."""
    if present:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")
