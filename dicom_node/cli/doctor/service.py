"""Checks of configuration, worker, bundle, runtime, units and limits."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from dicom_node.cli.doctor.findings import Finding, Patient, bad, good, note, unknown
from dicom_node.core.errors import BundleError
from dicom_node.inference.bundle import load_bundle
from dicom_node.settings import installed_bundle_folder

_UNITS = ("dicom-node.socket", "dicom-node.service", "dicom-node-worker@1.service")
_UNIT_FOLDERS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
_DESCRIPTORS = 256
_VERSIONS = Path("/opt/dicom-node")
_OLDEST_SYSTEMD = 247  # LoadCredential


def config_file(patient: Patient) -> Finding:
    """Check that the file is good, that only root may change it, and that the service may read it."""
    name, file = "configuration", patient.config
    found = file.stat()
    if found.st_mode & 0o002:
        return bad(name, f"{file} may be changed by everybody", f"chmod 640 {file}")
    if patient.folders.root.exists() and not _may_read(found, patient.folders.root.stat()):
        do = f"chgrp --reference={patient.folders.root} {file}; chmod 640 {file}"
        return bad(name, f"{file} may not be read by the service's user, so the next start fails", do)
    return good(name, str(file))


def _may_read(file: os.stat_result, service: os.stat_result) -> bool:
    """Tell whether the user and group that own the state folder may read a file."""
    if service.st_uid in {0, file.st_uid}:
        return service.st_uid == 0 or bool(file.st_mode & 0o400)
    return bool(file.st_mode & (0o040 if file.st_gid == service.st_gid else 0o004))


def node(patient: Patient) -> Finding:
    """Check that the node runs and takes associations."""
    name = "node"
    if patient.status is None:
        return note(name, "does not run", "systemctl start dicom-node.target, or `dicom-node serve`")
    if patient.status["late_loops"]:
        return bad(
            name, f"hangs: {', '.join(patient.status['late_loops'])}", "the watchdog restarts it; look at the disk"
        )
    if patient.status["problem"]:
        return bad(name, f"takes no associations: {patient.status['problem']}", "make room, or see to the disk")
    if not patient.status["accepting"]:
        return bad(name, "runs, but takes no associations", "`dicom-node queue resume`")
    return good(name, f"runs, {patient.status['version']}")


def worker(patient: Patient) -> Finding:
    """Check that a worker has joined."""
    name = "worker"
    if patient.status is None:
        return unknown(name, "the node does not run")
    if not patient.status["workers"]:
        do = "systemctl status dicom-node-worker@1; its log says why it does not come"
        return bad(name, "none has joined: images wait", do)
    return good(name, f"{patient.status['workers']} joined")


def bundle(patient: Patient) -> Finding:
    """Check that the bundle is whole, and the one that is wanted."""
    name, analysis = "bundle", patient.settings.analysis
    try:
        found = load_bundle(analysis.bundle, analysis.bundle_sha256 or None)
    except BundleError as error:
        return bad(name, str(error), "`dicom-node bundle list` names the others; without one nothing is analysed")
    if patient.status and patient.status["bundle_sha256"] != found.sha256:
        return bad(name, "the node runs with another one", "systemctl restart dicom-node.target")
    own = installed_bundle_folder().parent
    if _VERSIONS in analysis.bundle.parents and analysis.bundle.parent != own:
        do = f"`dicom-node bundle switch {analysis.bundle.name}` names the one of this version"
        return note(name, f"{analysis.bundle} is another version's, and goes with it at an upgrade", do)
    if not analysis.bundle_sha256:
        do = f'set analysis.bundle_sha256 = "{found.sha256}", so that no other is ever used'
        return note(name, f"{found.manifest.name} {found.manifest.version}, verified, not pinned", do)
    return good(name, f"{found.manifest.name} {found.manifest.version}, verified, pinned")


def runtime(patient: Patient) -> Finding:
    """Check that what shall run the model is installed."""
    from dicom_node.inference import plans  # noqa: PLC0415 - slow to import

    name, analysis = "runtime", patient.settings.analysis
    try:
        import importlib.metadata  # noqa: PLC0415 - with its only use

        version = next(
            importlib.metadata.version(one)
            for one in ("onnxruntime", "onnxruntime-gpu")
            if any(found.metadata["Name"] == one for found in importlib.metadata.distributions(name=one))
        )
    except StopIteration:
        return bad(name, "ONNX Runtime is not installed", "reinstall dicom-node")
    missing = [module for module in plans.MODULES if shutil.which(module) is None and not _is_there(module)]
    if analysis.runtime == "tensorrt" and missing and not analysis.fallback:
        return bad(name, f"TensorRT is asked for; not here: {', '.join(missing)}", "docs/jetson.md, section 2")
    if analysis.runtime == "tensorrt" and missing:
        return note(name, f"ONNX Runtime {version} instead of TensorRT", "docs/jetson.md, section 2")
    return good(name, f"ONNX Runtime {version}{'' if missing else ', and TensorRT'}")


def units(patient: Patient) -> Finding:
    """Check that the units are installed, enabled and not failed."""
    name = "units"
    if not any((folder / "dicom-node.service").exists() for folder in _UNIT_FOLDERS):
        return note(name, "not installed", "fine for a trial; for service: scripts/install, or the .deb")
    if not Path("/run/systemd/system").is_dir() or not shutil.which("systemctl"):
        return unknown(name, "installed, but systemd does not run here")
    states = {unit: _systemctl("is-active", unit) for unit in _UNITS}
    failed = [unit for unit, state in states.items() if state == "failed"]
    if failed:
        return bad(name, f"failed: {', '.join(failed)}", f"journalctl -u {failed[0]} -n 50; then systemctl restart it")
    if patient.status and _systemctl("is-enabled", "dicom-node.target") != "enabled":
        return bad(name, "do not start at boot", "systemctl enable dicom-node.target dicom-node.socket")
    return good(name, ", ".join(f"{unit} {state}" for unit, state in states.items()))


def systemd_version(_patient: Patient) -> Finding:
    """Check that the service manager knows what the units ask for."""
    name = "systemd"
    if not shutil.which("systemctl"):
        return note(name, "not here", "keep `dicom-node serve` running by other means")
    version = int(_systemctl("--version").split()[1])
    if version < _OLDEST_SYSTEMD:
        do = "take LoadCredential= out of dicom-node.service; keys are then read from 0400 files"
        return bad(name, f"{version}, the units need {_OLDEST_SYSTEMD}", do)
    return good(name, str(version))


def descriptors(patient: Patient) -> Finding:
    """Check that the running node may open enough files: sockets, and what is being received."""
    name, limit = "open files", _limit(patient, "Max open files")
    if limit is None:
        return unknown(name, "the node does not run, or belongs to another user")
    if limit < _DESCRIPTORS:
        return bad(name, f"{limit} at most", "LimitNOFILE=4096 in dicom-node.service")
    return good(name, f"{limit} at most")


def core_dumps(patient: Patient) -> Finding:
    """Check that a crash of the node does not write patient data into a file."""
    name, limit = "core dumps", _limit(patient, "Max core file size")
    if limit is None:
        return unknown(name, "the node does not run, or belongs to another user")
    if limit:
        return note(name, "a crash would write memory, and so patient data, to a file", "LimitCORE=0 in the units")
    return good(name, "off")


CHECKS = (config_file, node, worker, bundle, runtime, units, systemd_version, descriptors, core_dumps)


def _is_there(module: str) -> bool:
    import importlib.util  # noqa: PLC0415 - with its only use

    return importlib.util.find_spec(module.partition(".")[0]) is not None


def _systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False, timeout=5)  # noqa: S603,S607
    return done.stdout.strip()


def _limit(patient: Patient, name: str) -> int | None:
    """Return a soft limit of the running node; a very large number where there is none."""
    if patient.pid is None:
        return None
    try:
        lines = Path(f"/proc/{patient.pid}/limits").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    value = next(line for line in lines if line.startswith(name))[len(name) :].split()[0]
    return 1 << 30 if value == "unlimited" else int(value)
