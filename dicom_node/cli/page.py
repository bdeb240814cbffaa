"""`dicom-node page`."""

from __future__ import annotations

import getpass
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.core.errors import SettingsError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how a user gets a password."""
    parser.add_argument("--add-user", metavar="NAME", help="ask for a password and add NAME to page.password_file")


def run(arguments: argparse.Namespace) -> int:
    """Serve the status page and /metrics until SIGTERM; 2 where the extra is missing or the settings are wrong."""
    settings = configuration.load(arguments.config)
    if importlib.util.find_spec("starlette") is None:
        message = "the status page needs the extra `web`: pip install 'dicom-node[web]'"
        raise SettingsError(message)
    if arguments.add_user is not None:
        return _add_user(settings.page.password_file, arguments.add_user, settings.node.state_dir)
    from dicom_node.services import logs, page  # noqa: PLC0415 - needs the extra

    logs.configure(settings.log, "page")
    return page.serve(settings, arguments.config)


def _add_user(password_file: str, name: str, state_dir: Path) -> int:
    from dicom_node.web.login import hash_line  # noqa: PLC0415 - as above

    if not password_file:
        message = "page.password_file is not set: name a file in [page] first"
        raise SettingsError(message)
    if not name or ":" in name or not name.isprintable():
        message = f"{name!r} cannot be a user's name: no colon, printable characters only"
        raise SettingsError(message)
    password = getpass.getpass(f"Password of {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password:
        message = "an empty password is none"
        raise SettingsError(message)
    file = Path(password_file)
    kept = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lines = [line for line in kept if line.partition(":")[0] != name] + [hash_line(name, password)]
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(0o600)
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _hand_over(temporary, state_dir)
    temporary.replace(file)
    print(f"{file}: {name} may look now; restart the page: systemctl restart dicom-node-page")
    return exits.GOOD


def _hand_over(file: Path, state_dir: Path) -> None:
    """Give a file that root has written to the page's user, who owns the state folder: nobody else may read it."""
    if os.geteuid() == 0 and state_dir.exists():
        service = state_dir.stat()
        os.chown(file, service.st_uid, service.st_gid)
