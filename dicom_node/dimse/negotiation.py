"""What is agreed on when an association opens (PS3.8 7.1, PS3.7 D): titles, contexts, roles."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.dimse.pdu import APPLICATION_CONTEXT, AssociateRequest, ContextAnswer, ProposedContext, Rejection
from dicom_node.dimse.peers import AllowedPeer
from dicom_node.dimse.sop_classes import STORAGE_COMMITMENT, VERIFICATION, is_storage_class

_ACCEPTED, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0, 3, 4
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_READ = (_IMPLICIT_LITTLE, "1.2.840.10008.1.2.1")
_DEFLATED = "1.2.840.10008.1.2.1.99"  # a megabyte of it inflates to a gigabyte, and no radiograph needs it
_PERMANENT, _USER, _ACSE = 1, 1, 2


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides hold to: the accepted contexts by their number, and the answers that go out."""

    contexts: dict[int, Context]
    answers: tuple[ContextAnswer, ...]
    roles: dict[str, tuple[bool, bool]]
    refused_classes: tuple[str, ...]


def check_request(request: AssociateRequest, our_title: str) -> None:
    """Hold an association request against what we are. Raises Rejection (PS3.8 9.3.4)."""
    if not request.protocol_version & 1:
        message = "the peer speaks another version of the protocol"
        raise Rejection(message, _PERMANENT, _ACSE, 2)
    if request.application_context != APPLICATION_CONTEXT:
        message = "the peer asks for another application context than DICOM's"
        raise Rejection(message, _PERMANENT, _USER, 2)
    if request.called_ae != our_title:
        message = "the peer calls another AE title than ours (node.ae_title)"
        raise Rejection(message, _PERMANENT, _USER, 7)


def negotiate(request: AssociateRequest, peer: AllowedPeer | None, *, takes_reports: bool) -> Agreement:
    """Answer each proposed context: storage and Verification, in the first transfer syntax that the peer proposes.

    The data set is stored as it comes, so its transfer syntax is the peer's choice; only Deflated is passed over.
    takes_reports: also Storage Commitment, for the report that a PACS sends on an association of its own (PS3.4 J.3.3,
    the PACS being the SCP).
    """
    contexts: dict[int, Context] = {}
    answers, refused = [], []
    for proposed in request.contexts:
        result = _result(proposed, peer, takes_reports=takes_reports)
        wanted = _wanted(proposed)
        syntax = _usable(wanted)
        if result == _ACCEPTED and syntax != wanted:
            result = _NO_TRANSFER_SYNTAX
        if result == _ACCEPTED:
            contexts[proposed.identifier] = Context(proposed.abstract_syntax, syntax)
        else:
            refused.append(proposed.abstract_syntax)
        answers.append(ContextAnswer(proposed.identifier, result, syntax))
    roles = {uid: role for uid, role in request.roles.items() if takes_reports and uid == STORAGE_COMMITMENT}
    return Agreement(contexts, tuple(answers), roles, tuple(dict.fromkeys(refused)))


def _result(proposed: ProposedContext, peer: AllowedPeer | None, *, takes_reports: bool) -> int:
    uid = proposed.abstract_syntax
    if uid == VERIFICATION or (takes_reports and uid == STORAGE_COMMITMENT):
        return _ACCEPTED
    if not is_storage_class(uid) or (peer is not None and not peer.takes(uid)):
        return _NO_ABSTRACT_SYNTAX
    return _ACCEPTED


def _wanted(proposed: ProposedContext) -> str:
    """Return the first transfer syntax that is proposed, Deflated apart; for reports the first that is read here."""
    if proposed.abstract_syntax != STORAGE_COMMITMENT:
        return next((uid for uid in proposed.transfer_syntaxes if uid != _DEFLATED), "")
    return next((syntax for syntax in proposed.transfer_syntaxes if syntax in _READ), "")


def _usable(transfer_syntax: str) -> str:
    """Return a transfer syntax as it may be sent back and stored; one that is no UID is replaced."""
    plain = 0 < len(transfer_syntax) <= 64 and transfer_syntax.replace(".", "").isdigit() and transfer_syntax.isascii()  # noqa: PLR2004 - UI
    return transfer_syntax if plain else _IMPLICIT_LITTLE
