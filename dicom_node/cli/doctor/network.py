"""Checks of port, AE title, peers and certificates."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dicom_node.cli.doctor.findings import Finding, Patient, bad, good, note, unknown
from dicom_node.cli.echo import ask_one
from dicom_node.dimse.scu import Peer

_ECHO_S = 4.0
_LOOPBACK = ("127.", "::1", "localhost")
_SOON_DAYS = 30


def port(patient: Patient) -> Finding:
    """Check that somebody listens on the port: the node or, while it is down, systemd; else it is free."""
    node = patient.settings.node
    host = "127.0.0.1" if node.host in {"", "0.0.0.0"} else node.host  # noqa: S104 - compared, not bound
    name, address = "port", f"{node.host}:{node.port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(2)
        listening = probe.connect_ex((host, node.port)) == 0
    if listening and patient.status:
        return good(name, f"{address} is listened on")
    if listening:
        do = "systemctl status dicom-node.socket; if it is not that, `ss -ltnp` names the program"
        return note(name, f"{address} is listened on, and the node does not run", do)
    if patient.status:
        do = "`systemctl cat dicom-node.socket` has another address: make it and node.host, node.port alike"
        return bad(name, f"the node runs, but nobody listens on {address}", do)
    return good(name, f"{address} is free")


def own_answer(patient: Patient) -> Finding:
    """Check that the node answers C-ECHO by its own AE title."""
    node = patient.settings.node
    name = "own C-ECHO"
    if patient.status is None:
        return unknown(name, "the node does not run")
    host = "127.0.0.1" if node.host in {"", "0.0.0.0"} else node.host  # noqa: S104 - compared, not bound
    calling = node.calling_ae_titles[0] if node.calling_ae_titles else node.ae_title
    answer = ask_one(node.ae_title, Peer(node.ae_title, host, node.port, _ECHO_S), calling)
    if answer["problem"]:
        return bad(name, answer["problem"], "`dicom-node status` says whether it is accepting; the log says why not")
    return good(name, f"{node.ae_title} answers in {answer['ms']:.0f} ms")


def reachable(patient: Patient) -> Finding:
    """Check that a PACS on another machine can reach the node, and not everybody may."""
    node = patient.settings.node
    name = "who may connect"
    if node.host.startswith(_LOOPBACK):
        return note(name, f"{node.host}: this machine only", "set node.host to the address that faces the PACS")
    if not node.calling_ae_titles:
        do = "set node.calling_ae_titles, and close the port to others in the firewall"
        return bad(name, f"anybody who reaches {node.host}:{node.port}", do)
    return good(name, ", ".join(node.calling_ae_titles))


def destinations(patient: Patient) -> list[Finding]:
    """Check that each destination answers C-ECHO; all are asked at the same time."""
    found = patient.settings.destinations
    if not found:
        return [note("destinations", "none: results are made and sent nowhere", "add a [[destinations]] block")]
    own = patient.settings.node.ae_title

    def ask(one: Any) -> Finding:
        name = f"destination {one.name}"
        answer = ask_one(one.name, Peer(one.ae_title, one.host, one.port, min(one.timeout_s, _ECHO_S)), own)
        if answer["problem"]:
            return bad(name, answer["problem"], f"see that the PACS knows {own}; then `dicom-node echo {one.name}`")
        return good(name, f"answers in {answer['ms']:.0f} ms")

    dicom = [one for one in found if getattr(one, "kind", "dicom") == "dicom"]
    with ThreadPoolExecutor(max_workers=max(len(dicom), 1)) as pool:
        return list(pool.map(ask, dicom))


def certificate(patient: Patient) -> Finding:
    """Check that the node's certificate is good for a while yet."""
    name = "certificate"
    tls = getattr(patient.settings.node, "tls", None)
    file = getattr(tls, "certificate", None)
    if not file:
        return note(name, "no TLS: images and reports go in clear", "keep them on a network of their own")
    import importlib  # noqa: PLC0415 - with its only use
    from datetime import datetime, timezone  # noqa: PLC0415 - as above

    days = int(importlib.import_module("dicom_node.dimse.tls").days_left(file, datetime.now(timezone.utc)))
    if days < 0:
        return bad(name, f"expired {-days} days ago", "renew it now, then `systemctl restart dicom-node`")
    if days < _SOON_DAYS:
        return bad(name, f"{days} days left", "renew it, then `systemctl restart dicom-node`")
    return good(name, f"{days} days left")


CHECKS = (port, own_answer, reachable, certificate)
