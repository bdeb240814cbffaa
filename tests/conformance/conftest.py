from __future__ import annotations

import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def tool():
    """Return a function that runs a validator and gives its exit status and lines."""

    def run(name, *arguments):
        path = shutil.which(name)
        if path is None:
            message = f"{name} is not installed (dicom3tools has dciodvfy and dcentvfy, dcmtk has dsrdump)"
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(message)
            pytest.skip(message)
        done = subprocess.run(
            [path, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=250, check=False
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    return run
