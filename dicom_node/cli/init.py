"""`dicom-node init`: asks for what nothing can guess, tries the PACS, writes a configuration that explains itself."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.toml_text import enable_block, replace_values
from dicom_node.cli.words import print_json
from dicom_node.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_OUTPUT = Path("/etc/dicom-node/dicom-node.toml")
_SOCKET_UNITS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


@dataclass
class Answers:
    """What the wizard asks for: who we are, and the PACS that sends to us and gets our results."""

    ae_title: str = "DICOMNODE"
    host: str = ""
    port: int = 11112
    state_dir: str = "/var/lib/dicom-node"
    pacs_ae_title: str = ""
    pacs_host: str = ""
    pacs_port: int = 104


_QUESTIONS: tuple[tuple[str, str], ...] = (
    ("pacs_ae_title", "AE title of the PACS"),
    ("pacs_host", "its host name or address"),
    ("pacs_port", "its DICOM port"),
    ("ae_title", "our own AE title"),
    ("host", "our address that faces the PACS"),
    ("port", "our DICOM port (104 or 11112)"),
    ("state_dir", "folder for received images and results"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each question; with --yes nothing is asked."""
    for name, text in _QUESTIONS:
        kind = int if name.endswith("port") else str
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="file to write (default: %(default)s)")
    parser.add_argument("--yes", action="store_true", help="ask nothing: options and defaults are enough")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there")
    parser.add_argument("--json", action="store_true", help="print JSON; implies --yes")


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say what to enter at the PACS; 1 where the PACS does not answer yet."""
    if arguments.output.exists() and not arguments.force:
        message = f"{arguments.output} is there already: --force overwrites it, --output names another file"
        raise SettingsError(message)
    answers = _collect(arguments, input)
    _write(arguments.output, _text(answers))
    socket_unit = _socket_drop_in(answers)
    tried = _try_pacs(answers)
    found = {"written": str(arguments.output), **asdict(answers), "socket_unit": socket_unit, "pacs": tried}
    print_json(found) if arguments.json else _explain(found)
    return exits.FAILED if tried and tried["problem"] else exits.GOOD


def _collect(arguments: argparse.Namespace, ask: Callable[[str], str]) -> Answers:
    """Return the answers: from the options, else from a person, else the defaults."""
    answers = Answers()
    may_ask = not arguments.yes and not arguments.json and sys.stdin.isatty()
    for name, text in _QUESTIONS:
        given = getattr(arguments, name)
        default = _facing(answers.pacs_host) if name == "host" else getattr(answers, name)
        if given is None and may_ask:
            given = _typed(ask, f"{text}{f' [{default}]' if default else ''}: ") or default
        value = default if given is None else given
        try:
            setattr(answers, name, int(value) if name.endswith("port") else value)
        except ValueError as error:
            message = f"{text}: {value!r} is not a number"
            raise SettingsError(message) from error
    return answers


def _typed(ask: Callable[[str], str], question: str) -> str:
    """Return what a person answers. Raises SettingsError where they end the questions instead (Ctrl-D)."""
    try:
        return ask(question).strip()
    except EOFError as error:
        message = "\nno more answers: nothing was written"
        raise SettingsError(message) from error


def _facing(pacs_host: str) -> str:
    """Return the address of this machine from which a host is reached; nothing is sent."""
    if not pacs_host:
        return "127.0.0.1"
    try:
        family, *_, address = socket.getaddrinfo(pacs_host, 104, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError):
        return "127.0.0.1"


def _text(answers: Answers) -> str:
    """Return the manual with the answers filled in."""
    text = manual().read_text(encoding="utf-8")
    node: dict[str, Any] = {
        "ae_title": answers.ae_title,
        "host": answers.host,
        "port": answers.port,
        "state_dir": answers.state_dir,
    }
    if not answers.pacs_host:
        return replace_values(text, "node", node)
    if not answers.host.startswith("127."):
        peer = {"ae_title": answers.pacs_ae_title, "addresses": _addresses(answers.pacs_host)}
        text = replace_values(enable_block(text, "node.peers"), "node.peers", peer)
    text = enable_block(text, "destinations")
    pacs = {"name": "pacs", "ae_title": answers.pacs_ae_title, "host": answers.pacs_host, "port": answers.pacs_port}
    return replace_values(replace_values(text, "node", node), "destinations", pacs)


def _addresses(host: str) -> list[str]:
    """Return the addresses of a host: those that it may connect from. Raises SettingsError where it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"{host}: nothing is known of this host name; give the address of the PACS instead"
        raise SettingsError(message) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def manual() -> Path:
    """Return the commented configuration that comes with the installation or lies in the checkout."""
    package = Path(configuration.__file__).resolve().parent
    places = (package / "config" / "dicom-node.toml", package.parent / "config" / "dicom-node.toml")
    return next((place for place in places if place.exists()), places[0])


def _write(file: Path, text: str) -> None:
    """Write the file, for root and the service's user. What no setting takes leaves the file that was there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text, encoding="utf-8")
    try:
        configuration.load(temporary)
    except SettingsError as error:
        temporary.unlink()
        raise SettingsError(str(error).replace(str(temporary), str(file))) from error
    temporary.chmod(0o640)
    if file.parent.stat().st_gid != temporary.stat().st_gid and os.geteuid() == 0:
        os.chown(temporary, -1, file.parent.stat().st_gid)
    temporary.replace(file)


def _socket_drop_in(answers: Answers) -> str | None:
    """Give the socket unit the same address, where it is installed and may be changed; return the file's name."""
    if os.geteuid() != 0 or not any((folder / "dicom-node.socket").exists() for folder in _SOCKET_UNITS):
        return None
    file = _SOCKET_UNITS[0] / "dicom-node.socket.d" / "address.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    address = f"[{answers.host}]" if ":" in answers.host else answers.host
    lines = (
        "# Written by `dicom-node init`.",
        "[Socket]",
        "ListenStream=",
        f"ListenStream={address}:{answers.port}",
        "",
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def _try_pacs(answers: Answers) -> dict[str, Any] | None:
    if not answers.pacs_host:
        return None
    from dicom_node.cli.echo import ask_peer  # noqa: PLC0415 - the network is needed last
    from dicom_node.dimse.scu import Peer  # noqa: PLC0415 - as above

    peer = Peer(answers.pacs_ae_title, answers.pacs_host, answers.pacs_port, 10.0)
    return ask_peer("pacs", peer, answers.ae_title)


def _explain(found: dict[str, Any]) -> None:
    print(f"written: {found['written']}")
    if found["pacs"] is None:
        print("no PACS was named: results go nowhere until there is a [[destinations]] block")
    elif found["pacs"]["problem"]:
        print(f"the PACS does not answer yet: {found['pacs']['problem']}")
    else:
        print(f"the PACS answers in {found['pacs']['ms']:.0f} ms")
    print("\nEnter at the PACS, as a destination that may also store into it:")
    print(f"  AE title  {found['ae_title']}\n  host      {found['host']}\n  port      {found['port']}")
    print("and a rule that forwards CR and DX images to it as they arrive.\n")
    if found["socket_unit"]:
        print(f"The socket unit listens there too ({found['socket_unit']}). Next:")
        print("  dicom-node selftest")
        print("  systemctl enable --now dicom-node.target dicom-node.socket dicom-node.service dicom-node-worker@1")
        print("  dicom-node doctor")
    else:
        file = found["written"]
        print(f"Next:\n  dicom-node selftest --config {file}\n  dicom-node serve --config {file}")
