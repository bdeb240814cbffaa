"""What is said of a peer that cannot even be called."""

from __future__ import annotations

import socket

import pytest

from dicom_node.core.errors import DestinationUnavailable
from dicom_node.dimse.opening import Peer, connect


def test_c42_a_name_that_no_longer_resolves_is_said_to_be_unknown(monkeypatch):
    def unknown(*_words: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DestinationUnavailable, match=r"pacs\.example:104 cannot be reached \(nobody knows its name\)"):
        connect(Peer("PACS", "pacs.example", 104))
