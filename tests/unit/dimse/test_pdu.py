"""The upper layer's codecs, held against pynetdicom's, and against bytes that mean nothing."""

from __future__ import annotations

import socket

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID_dictionary
from pynetdicom import pdu as theirs
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import uid_to_service_class

from dicom_node.dimse import command as dimse
from dicom_node.dimse import pdu
from dicom_node.dimse.admission import Admission
from dicom_node.dimse.association import Association, House
from dicom_node.dimse.fragments import Pace
from dicom_node.dimse.negotiation import negotiate
from dicom_node.dimse.peers import AllowList
from dicom_node.dimse.scp_settings import ScpSettings
from dicom_node.dimse.services import Services
from dicom_node.dimse.sink import WholeObjects
from dicom_node.dimse.sop_classes import is_storage_class
from tests.support.wire import (
    ABORT,
    CR,
    EXPLICIT,
    RELEASE_RQ,
    associate_rq,
    c_echo_rq,
    c_store_rq,
    context,
    p_data,
    pdv,
)


def test_an_acceptance_reads_the_same_with_pynetdicom():
    sent = associate_rq(context(1, CR, (EXPLICIT,)) + context(3, "1.2.840.10008.5.1.4.1.2.1.1"))
    agreement = negotiate(pdu.decode_request(sent[6:]), None, takes_reports=False)
    read = theirs.A_ASSOCIATE_AC()
    read.decode(pdu.encode_acceptance(sent[6:], agreement.answers, 131072, agreement.roles))
    found = [(item.context_id, item.result, str(item.transfer_syntax)) for item in read.presentation_context]
    assert found == [(1, 0, EXPLICIT), (3, 3, "1.2.840.10008.1.2")]
    assert read.user_information.maximum_length == 131072
    assert str(read.user_information.implementation_class_uid) == pdu.IMPLEMENTATION_CLASS_UID


def test_a_request_of_pynetdicom_is_read_as_it_was_meant():
    from pynetdicom import AE, build_role  # noqa: PLC0415 - pynetdicom's own wording of a request
    from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification  # noqa: PLC0415
    from pynetdicom.transport import AddressInformation  # noqa: PLC0415

    ae = AE(ae_title="PACS")
    ae.add_requested_context(CR, ALL_TRANSFER_SYNTAXES[:3])
    primitive = A_ASSOCIATE()
    primitive.application_context_name = pdu.APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "PACS", "DICOMNODE"
    primitive.calling_presentation_address = AddressInformation("127.0.0.1", 104)
    primitive.called_presentation_address = AddressInformation("127.0.0.1", 104)
    length = MaximumLengthNotification()
    length.maximum_length_received = 32768
    primitive.user_information = [length, build_role(CR, scp_role=True)]
    primitive.presentation_context_definition_list = ae.requested_contexts
    for number, proposed in enumerate(ae.requested_contexts):
        proposed.context_id = 2 * number + 1
    sent = theirs.A_ASSOCIATE_RQ()
    sent.from_primitive(primitive)
    read = pdu.decode_request(sent.encode()[6:])
    assert (read.called_ae, read.calling_ae, read.max_length) == ("DICOMNODE", "PACS", 32768)
    assert read.roles == {CR: (False, True)}
    assert read.contexts == (pdu.ProposedContext(1, CR, tuple(ALL_TRANSFER_SYNTAXES[:3])),)


def test_a_response_reads_the_same_with_pynetdicom():
    request = dimse.decode(c_store_rq("1.2.3", message_id=7))
    encoded = pdu.encode_command(1, dimse.encode_response(request, 0xA700, "no space left"), 64)
    message = C_STORE_RSP()
    while encoded:
        read = theirs.P_DATA_TF()
        length = int.from_bytes(encoded[2:6], "big") + 6
        assert length <= 64 + 6
        read.decode(encoded[:length])
        message.decode_msg(read.to_primitive())
        encoded = encoded[length:]
    answer = message.message_to_primitive()
    assert (answer.Status, answer.MessageIDBeingRespondedTo) == (0xA700, 7)
    assert (answer.AffectedSOPInstanceUID, answer.ErrorComment) == ("1.2.3", "no space left")


def test_a_command_of_pynetdicom_is_read_as_it_was_meant():
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 9, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CR, "1.2.3.4"
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    (piece, *_) = message.encode_msg(1, 16384)
    read = dimse.decode(piece.presentation_data_value_list[0][1][1:])
    assert (read.field, read.message_id, read.sop_class_uid, read.sop_instance_uid) == (1, 9, CR, "1.2.3.4")


def test_every_storage_class_of_the_standard_is_stored_and_nothing_else_of_it():
    """pynetdicom's table, but for classes that it knows no service of (the retired ones, whose names say storage)."""
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind != "SOP Class" or not name or name.startswith("Media Storage Directory"):
            continue
        service = uid_to_service_class(uid).__name__
        stored = "Storage -" in name or name.endswith("Storage") if service == "ServiceClass" else None
        assert is_storage_class(uid) == (stored if stored is not None else service == "StorageServiceClass"), (
            uid,
            name,
        )


@pytest.mark.parametrize(
    ("uid", "stored"), [("1.2.840.113619.4.26", True), ("1.3.12.2.1107.5.9.1", True), ("nonsense", False), ("", False)]
)
def test_private_classes_are_stored_and_what_is_no_uid_is_not(uid, stored):
    assert is_storage_class(uid) is stored


PIECES = [
    associate_rq(context(1, CR, (EXPLICIT,)) + context(3)),
    p_data(pdv(c_echo_rq(), 3, 3)),
    p_data(pdv(c_store_rq("1.2.3"), 3)),
    p_data(pdv(c_store_rq("1.2.3")[:30], 1), pdv(c_store_rq("1.2.3")[30:], 3)),
    p_data(pdv(bytes(300), 0)),
    p_data(pdv(bytes(300), 2)),
    p_data(pdv(b"", 2)),
    RELEASE_RQ,
    ABORT,
]


@st.composite
def conversations(draw):
    """Mostly legal PDUs in any order, some with a few bytes changed, cut or doubled: what reaches every state."""
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=6))
    data = bytearray(b"".join([PIECES[0], *pieces] if draw(st.booleans()) else pieces))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=200, deadline=None)
@given(conversations() | st.binary(max_size=200))
def test_c12_no_bytes_at_all_raise_or_leave_a_seat_taken(data):
    admission: Admission[Association] = Admission(20, 6)
    settings_ = ScpSettings("DICOMNODE", "127.0.0.1", 0, pace=Pace(idle_s=0.05, pdu_s=0.05), request_timeout_s=0.05)
    house = House(settings_, Services(WholeObjects(lambda _received: None)), admission, AllowList(()), None)
    ours, peer = socket.socketpair()
    with peer, structlog.testing.capture_logs() as logs:
        association = Association(ours, "127.0.0.1", house)
        assert admission.enter(association)
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        association.run()
        admission.gone(association)
    assert not [event for event in logs if event["event"] == "association.failed"]
    assert admission.inside() == []
    assert not admission._seated
    assert not admission._pending
