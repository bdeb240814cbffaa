"""STOW-RS and FHIR: the courier and the ledger against a stub server and against Orthanc's DICOMweb plugin."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle

from dicom_node.core.errors import DestinationRefused
from dicom_node.deliver.probe import probe
from tests.support import brief
from tests.support.certificates import certificate
from tests.support.orthanc import Forward, Orthanc
from tests.support.parcels import EXPLICIT, JPEG_LS, PR, SC, SR, a_result_of_images
from tests.support.published import Outgoing
from tests.support.stub_web import Reply, StubWeb
from tests.support.waiting import free_port

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def outgoing(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda *destinations, **more: stack.enter_context(Outgoing(tmp_path / "state", *destinations, **more))


def dicomweb(url, **more):
    return {"kind": "dicomweb", "name": "web", "url": f"{url}/dicom-web"} | more


def refusing(reasons, status=202):
    """Return what refuses the parts that contain these bytes, each with its failure reason."""

    def answer(seen):
        failed, stored = [], []
        for content in seen.parts():
            uid = re.search(rb"2\.25\.\d+", content)[0].decode()
            item = {"00081155": {"vr": "UI", "Value": [uid]}}
            reason = next((reason for mark, reason in reasons.items() if mark in content), None)
            if reason is None:
                stored.append(item)
            else:
                failed.append(item | {"00081197": {"vr": "US", "Value": [reason]}})
        body = {"00081199": {"vr": "SQ", "Value": stored}} | (
            {"00081198": {"vr": "SQ", "Value": failed}} if failed else {}
        )
        return Reply(status if failed else 200, json.dumps(body).encode())

    return answer


def sent(delivery):
    return [(slot["slot"], slot["sop_class_uid"], slot["transfer_syntax_uid"]) for slot in delivery["slots"]]


def step(node, name="web", study="1.2.3"):
    node.publish(study)
    node.courier(name).step()
    return node.delivery(study, name)


def test_a_result_goes_in_one_request_best_alternatives_with_their_syntaxes_and_bytes(outgoing, tmp_path):
    with StubWeb(refusing({})) as web:
        node = outgoing(dicomweb(web.url))
        delivery = step(node)
        assert delivery["state"] == "done"
        assert sent(delivery) == [("sc-1", SC, JPEG_LS), ("pr-1", PR, EXPLICIT), ("sr", SR + "34", EXPLICIT)]
        (seen,) = web.seen
        assert seen.path == "/dicom-web/studies/1.2.3"
        assert seen.headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
        files = [
            tmp_path / "state" / "results" / "1.2.3-1" / name for name in ("000-sc.dcm", "002-pr.dcm", "003-sr-34.dcm")
        ]
        assert seen.parts() == [file.read_bytes() for file in files]


@pytest.mark.parametrize("status", [202, 409])
def test_what_is_refused_follows_one_rung_lower_each_rung_once(outgoing, status):
    marks = {(SR + rung).encode(): 0x0122 for rung in ("34", "33")} | {JPEG_LS.encode(): 0xC000}
    with StubWeb(refusing(marks, status)) as web:
        delivery = step(outgoing(dicomweb(web.url)))
        assert delivery["state"] == "done"
        assert sent(delivery) == [("sc-1", SC, EXPLICIT), ("pr-1", PR, EXPLICIT), ("sr", SR + "22", EXPLICIT)]
        assert [len(seen.parts()) for seen in web.seen] == [3, 2, 1]


def test_no_report_at_all_is_said_and_the_pages_are_a_delivery(outgoing):
    with StubWeb(refusing({SR.encode(): 0x0122, PR.encode(): 0xC000})) as web:
        delivery = step(outgoing(dicomweb(web.url)))
        assert (delivery["state"], sent(delivery)[1:]) == ("done", [("pr-1", None, None), ("sr", None, None)])
        assert "Basic Text SR answered with 0x0122" in delivery["slots"][2]["note"]


@pytest.mark.parametrize(("choice", "syntax"), [("compressed", JPEG_LS), ("uncompressed", EXPLICIT)])
def test_one_syntax_of_the_pages_may_be_asked_for(outgoing, choice, syntax):
    with StubWeb(lambda _seen: Reply(200)) as web:
        delivery = step(outgoing(dicomweb(web.url, transfer_syntax=choice, sr_class="comprehensive")))
        assert sent(delivery) == [("sc-1", SC, syntax), ("pr-1", PR, EXPLICIT), ("sr", SR + "33", EXPLICIT)]


@pytest.mark.parametrize("status", [413, 415])
def test_a_request_that_is_too_large_or_of_an_unsupported_syntax_goes_in_pieces(outgoing, status):
    def answer(seen):
        compressed = any(JPEG_LS.encode() in content for content in seen.parts())
        return Reply(status) if len(seen.parts()) > 1 or (status == 415 and compressed) else Reply(200)

    with StubWeb(answer) as web:
        delivery = step(outgoing(dicomweb(web.url)))
        assert delivery["state"] == "done"
        assert sent(delivery)[0] == ("sc-1", SC, EXPLICIT if status == 415 else JPEG_LS)


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        (401, "dead", "renew the token or password"),
        (403, "dead", "ask its administrator"),
        (404, "dead", "check the url"),
        (302, "dead", "give the url itself"),
        (400, "dead", "look at the server's log"),
        (503, "ready", "answered 503"),
        (429, "ready", "answered 429"),
        (500, "ready", "answered 500"),
    ],
)
def test_each_status_has_its_consequence_and_retry_after_is_heeded(outgoing, status, state, said):
    now = [1000.0]
    with StubWeb(lambda _seen: Reply(status, b"Canary^Carla", {"Retry-After": "120"})) as web:
        node = outgoing(dicomweb(web.url), clock=lambda: now[0])
        node.publish("1.2.3")
        courier = node.courier("web")
        courier.step()
        delivery = node.delivery("1.2.3", "web")
        assert delivery["state"] == state
        assert said in delivery["last_error"]
        assert "Canary" not in delivery["last_error"]
        now[0] += 119.0
        assert not courier.step()
        now[0] += 2.0
        assert courier.step() == (state == "ready")


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (Reply(200, b""), "done"),
        (Reply(200, b"<NativeDicomModel/>"), "done"),
        (Reply(200, b"[1]"), "done"),
        (Reply(202, b"<NativeDicomModel/>"), "dead"),
        (Reply(200, b'{"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}'), "dead"),
    ],
)
def test_success_without_lists_is_believed_and_an_instance_in_no_list_is_not_stored(outgoing, reply, state):
    with StubWeb(lambda _seen: reply) as web:
        assert step(outgoing(dicomweb(web.url)))["state"] == state


def test_a_server_that_is_down_is_tried_again_and_credentials_are_read_anew(outgoing, tmp_path):
    token = tmp_path / "token"
    node = outgoing(dicomweb(f"http://127.0.0.1:{free_port()}", bearer_token_file=str(token)))
    delivery = step(node)
    assert (delivery["state"], "token cannot be read" in delivery["last_error"]) == ("ready", True)
    token.write_text("first\n")
    node.courier("web").step()
    assert "cannot be reached" in node.delivery("1.2.3", "web")["last_error"]


def test_credentials_go_with_each_request(outgoing, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "password").write_text("user:pass\n")
    with StubWeb(lambda _seen: Reply(200)) as web:
        node = outgoing(
            dicomweb(web.url, bearer_token_file=str(tmp_path / "token")),
            dicomweb(web.url, name="basic", basic_auth_file=str(tmp_path / "password")),
        )
        step(node)
        node.courier("basic").step()
    assert [seen.headers["Authorization"] for seen in web.seen] == ["Bearer secret", "Basic dXNlcjpwYXNz"]


@pytest.mark.usefixtures("openssl_installed")
def test_a_server_is_known_by_its_certificate_and_a_stranger_gets_nothing(outgoing, tmp_path):
    for name in ("server", "stranger"):
        certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with StubWeb(lambda _seen: Reply(200), tls=context) as web:
        names = {"web": "server", "wrong": "stranger", "none": "missing"}
        node = outgoing(*(dicomweb(web.url, name=n, ca_file=str(tmp_path / f"{ca}.pem")) for n, ca in names.items()))
        node.publish("1.2.3")
        for name in names:
            node.courier(name).step()
        assert node.delivery("1.2.3", "web")["state"] == "done"
        assert "self-signed certificate" in node.delivery("1.2.3", "wrong")["last_error"]
        assert "ca_file" in node.delivery("1.2.3", "none")["last_error"]
        assert len(web.seen) == 1


@pytest.mark.usefixtures("dicomweb_installed")
def test_orthancs_dicomweb_plugin_stores_a_result_and_refuses_a_stranger(outgoing, tmp_path):
    (tmp_path / "password").write_text("node:secret\n")
    pacs = Orthanc(tmp_path / "pacs", free_port(), Forward.NONE, dicomweb={"node": "secret"})
    url = f"http://127.0.0.1:{pacs.http_port}"
    with pacs:
        node = outgoing(
            dicomweb(url, basic_auth_file=str(tmp_path / "password")),
            dicomweb(url, name="stranger"),
        )
        node.publish("1.2.3", write=a_result_of_images)
        node.courier("stranger").step()
        assert "renew the token or password" in node.delivery("1.2.3", "stranger")["last_error"]
        node.courier("web").step()
        assert node.delivery("1.2.3", "web")["last_error"] is None
        assert sent(node.delivery("1.2.3", "web")) == [("sc-1", SC, JPEG_LS), ("sr", SR + "34", EXPLICIT)]
        stored = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in pacs.datasets("1.2.3")}
        assert stored == {(SC, JPEG_LS), (SR + "34", EXPLICIT)}
        known, stranger = node.destinations
        assert probe(known, "NODE")["answer"].startswith("answers HTTP ")
        with pytest.raises(DestinationRefused, match="renew the token"):
            probe(stranger, "NODE")


def test_a_fhir_server_gets_one_valid_transaction_a_result(outgoing):
    with StubWeb(lambda _seen: Reply(200)) as web:
        node = outgoing({"kind": "fhir", "name": "worklist", "url": f"{web.url}/r4"})
        node.publish("1.2.3", write=brief.writer())
        node.courier("worklist").step()
        assert node.delivery("1.2.3", "worklist")["state"] == "done"
        (seen,) = web.seen
        assert (seen.path, seen.headers["Content-Type"]) == ("/r4", "application/fhir+json")
        read = Bundle.model_validate_json(seen.body)
        assert read.type == "transaction"
        assert "山田" in seen.body.decode()


def test_a_folder_gets_one_file_a_version_and_a_folder_that_is_gone_is_waited_for(outgoing, tmp_path):
    folder = tmp_path / "copies"
    node = outgoing({"kind": "fhir", "name": "copies", "folder": str(folder)})
    node.publish("1.2.3", write=brief.writer())
    node.run()
    node.until(lambda: node.delivery("1.2.3", "copies")["attempts"] >= 1)
    assert "cannot be written" in node.delivery("1.2.3", "copies")["last_error"]
    folder.mkdir()
    node.publish("1.2.3", 2, write=brief.writer())
    node.until_done("1.2.3", "copies", 2)
    assert sorted(path.name for path in folder.iterdir()) == ["1.2.3.v1.json", "1.2.3.v2.json"]
    assert Bundle.model_validate_json((folder / "1.2.3.v2.json").read_bytes()).type == "collection"


def test_a_result_without_its_brief_is_for_a_person_and_holds_up_no_other(outgoing, tmp_path):
    node = outgoing({"kind": "fhir", "name": "copies", "folder": str(tmp_path)})
    node.publish("1.2.3")
    node.publish("1.2.4", write=brief.writer(patient=replace(brief.a_summary().patient, name="")))
    node.courier("copies").step()
    assert "make the result again" in node.delivery("1.2.3", "copies")["last_error"]
    assert node.delivery("1.2.4", "copies")["state"] == "done"
