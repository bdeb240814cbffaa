"""Node and worker understand each other, and nothing else."""

from __future__ import annotations

import socket

import pytest

from dicom_node.core.findings import Localisation, Outcome, Reason, ReasonCode, Region, StudyFinding, ViewFinding
from dicom_node.core.model_identity import ModelIdentity
from dicom_node.services.messages import (
    MAX_MESSAGE,
    Analysed,
    AnalyseJob,
    Channel,
    Composed,
    ComposedObject,
    ComposeJob,
    Failed,
    Hello,
    Idle,
    Image,
    Next,
    Reference,
    ViewToCompose,
    connect,
    listen,
)

MODEL = ModelIdentity("m", "1", "us", "ab" * 32, demonstration=True, runtime="ONNX", parameters=(("p_low", "0.1"),))
VIEW = ViewFinding(
    sop_instance_uid="1.2",
    outcome=Outcome.INCONCLUSIVE,
    reason=Reason(ReasonCode.BETWEEN_THRESHOLDS, "between"),
    probability=0.25,
    logit=-1.0986122886681098,
    localisation=Localisation(0.4, 0.1, 0.0, (10.5, 20.25), on_border=False, trusted=True),
    regions=(Region(((0.0, 0.0), (1.5, 0.0), (0.0, 0.0))),),
    model=MODEL,
)
TO_COMPOSE = ViewToCompose("1.1", "1.2", "ab/abc", VIEW, None)
STUDY = StudyFinding(Outcome.INCONCLUSIVE, VIEW.reason, 0.25, (VIEW,), MODEL)


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    yield Channel(one), Channel(other), one
    one.close()
    other.close()


@pytest.mark.parametrize(
    "message",
    [
        Hello("ab" * 32, "ONNX", None),
        Next(),
        Idle(),
        AnalyseJob(Image("1.2", "1.3", "1.4", "CR", "ab/abc"), "work/1-1"),
        AnalyseJob(
            Image("1.2", "1.3", "1.4", "CR", "ab/abc", "ef", 7), "w/1", (Image("1.5", "1.3", "1.4", "DX", "x"),)
        ),
        ComposeJob("1.4", 2, 100.5, (TO_COMPOSE,), (Reference("1", "2", "3"), Reference("4", "5", "3")), "work/2-1"),
        Analysed(VIEW, "cd" * 32, 12.5),
        Composed(STUDY, "cd" * 32, (ComposedObject("sr", "sr", "1", "2", "3", "4", "001-sr.dcm"),)),
        Failed("no memory"),
        Failed("two patients", permanent=True),
    ],
)
def test_every_message_arrives_as_it_was_sent(ends, message):
    sender, receiver, _ = ends
    sender.send(message)
    assert receiver.receive(1.0) == message


def test_a_closed_connection_a_silent_one_and_nonsense_are_told_apart(ends):
    _, receiver, raw = ends
    with pytest.raises(TimeoutError):
        receiver.receive(0.05)
    raw.sendall((MAX_MESSAGE + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match="longer than"):
        receiver.receive(1.0)
    raw.sendall((2).to_bytes(4, "big") + b"{}")
    with pytest.raises(ValueError, match="discriminator"):
        receiver.receive(1.0)
    raw.close()
    with pytest.raises(EOFError):
        receiver.receive(1.0)


def test_a_socket_may_lie_deeper_than_a_socket_address_is_long(tmp_path):
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    folder.mkdir(parents=True)
    listener = listen(folder / "worker.sock")
    channel = connect(folder / "worker.sock")
    accepted, _ = listener.accept()
    channel.send(Next())
    assert Channel(accepted).receive(1.0) == Next()
    assert (folder / "worker.sock").stat().st_mode & 0o077 == 0
    for end in (channel, accepted, listener):
        end.close()
    with pytest.raises(OSError, match="refused"):
        connect(folder / "worker.sock")
