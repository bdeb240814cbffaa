"""C51: what a data set says of a patient is in the spool and the outputs, and nowhere else that anybody looks."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import tarfile
from contextlib import closing, redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.cli.main import main
from tests.support.node import Node, command, names_below
from tests.support.waiting import free_port, is_open, until
from tests.support.wire import CR, EXPLICIT, RawPeer, associate_rq, context
from tests.unit.part10.test_header import a_radiograph, encoded

# The canaries are no valid codes and no ages, which is the point.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:Invalid value for VR")]

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT_VRS = {"LO", "SH", "PN", "ST", "LT", "UT", "UC"}
GROUPS = {0x08, 0x10, 0x18, 0x20, 0x32, 0x40}
CANARY = "Zqxjkv"  # no word of any language, and no part of a digest
STRANGER = b"Zqxjkv80"
COMMANDS = [
    ["audit", "export"],
    ["audit", "export", "--format", "atna"],
    ["audit", "show"],
    ["studies"],
    ["studies", "1.2.3.51", "--json"],
    ["instances"],
    ["instances", "--refused"],
    ["check"],
    ["destinations"],
    ["status", "--json"],
    ["doctor", "--json"],
    ["queue", "list", "--json"],
    ["dead", "list", "--json"],
    ["replay", "1.2.3.51"],
]
PAGES = ["/", "/metrics", "/studies/1.2.3.51"]
EXAMINATION = {"StudyInstanceUID": "1.2.3.51", "SeriesInstanceUID": "1.2.3.51.1"}


def text_attributes(limit: int) -> list[str]:
    """Return the first text attributes of the patient, the study and the equipment in the dictionary's order."""
    entries = [
        keyword
        for tag, (vr, _, _, retired, keyword) in sorted(DicomDictionary.items())
        if vr in TEXT_VRS and tag >> 16 in GROUPS and not retired
    ]
    first = ["PatientName", "PatientID", "OtherPatientIDs", "PatientComments", "InstitutionName", "Manufacturer"]
    return (first + [keyword for keyword in entries if keyword and keyword not in first])[:limit]


def planted(sop_instance: str) -> Dataset:
    """Return a radiograph with canaries in 60 text attributes, in code strings, in an item and in a private element."""
    ds = a_radiograph()
    ds.SOPInstanceUID = sop_instance
    for keyword, value in EXAMINATION.items():
        setattr(ds, keyword, value)
    for number, keyword in enumerate(text_attributes(60)):
        setattr(ds, keyword, f"{CANARY}{number:02d}")
    for keyword in ("BodyPartExamined", "ViewPosition", "PatientAge", "PresentationIntentType", "ImageType"):
        ds[keyword] = ds.get_item(keyword) or _element(keyword)
    inner = Dataset()
    inner.RequestedProcedureDescription = f"{CANARY}71"
    ds.RequestAttributesSequence = Sequence([inner])
    block = ds.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "LO", f"{CANARY}72")
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 4, 4, 16, 16, 15
    ds.SamplesPerPixel, ds.PixelRepresentation, ds.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    return ds


def asked_of_the_page(port: int) -> list[int]:
    """Return how the page answers requests with canaries in everything that a browser chooses."""
    words = {name: f"{CANARY}9{n}" for n, name in enumerate(("User-Agent", "Cookie", "Authorization", "Referer"))}
    answers = []
    for method, path in (("GET", f"/studies/{CANARY}94?name={CANARY}95"), ("POST", f"/echo/{CANARY}96"), (CANARY, "/")):
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request(method, path, f"token={CANARY}97", words)
            answers.append(connection.getresponse().status)
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/", headers={"Host": f"{CANARY}98.example"})
        return [*answers, connection.getresponse().status]


def _element(keyword: str) -> object:
    ds = Dataset()
    setattr(ds, keyword, f"{CANARY.upper()} {keyword[:6]}"[:16])
    return ds[keyword]


@pytest.fixture(scope="module")
def lived(tmp_path_factory, bundle):
    """A node that has received, refused, analysed, composed and failed to deliver what the canaries are in."""
    node = Node(tmp_path_factory.mktemp("canaries"), bundle, quiet_s=3.0)
    node.sends_to("nobody", f"{CANARY[:4]}AE", 1)
    copies, temporary = node.folder / "copies", node.folder / "tmp"
    for folder in (copies, temporary):
        folder.mkdir()
    retry = {"retry_first_s": 0.5, "retry_longest_s": 2.0}
    node.settings["destinations"] += [
        {"name": "copies", "kind": "fhir", "folder": str(copies), **retry},
        {"name": "ris", "kind": "hl7", "host": "127.0.0.1", "port": 1, **retry},
    ]
    node.settings["page"] = {"enabled": True, "port": free_port()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        node.start()
    with RawPeer(node.port) as peer:
        peer.associate(calling=b"MODALITY")
        good = planted("1.2.3.51.7")
        assert peer.store("1.2.3.51.7", encoded(good)) == 0
        assert peer.store("1.2.3.51.8", encoded(good)) == 0xA900  # command and data set disagree
        assert peer.store("1.2.3.51.9", encoded(good)[:400] + b"\x08\0") == 0xC000
        assert peer.store(f"{CANARY}.1", encoded(good)) == 0xC000
        broken = planted("1.2.3.51.10")
        raw = encoded(broken).replace(b"\x28\0\x10\0US\x02\0\x04\0", b"\x28\0\x10\0LO\x08\0Zqxjkv99")
        assert peer.store("1.2.3.51.10", raw) == 0
    with RawPeer(node.port) as stranger:
        wrong = associate_rq(context(1, CR, (EXPLICIT,)), calling=STRANGER, called=b"Zqxjkv81")
        stranger.send(wrong).pdu()
    until(lambda: node.events("result.published"), 60, "a result was made")
    until(lambda: [event for event in node.events("delivery.done") if event["destination"] == "copies"], 60, "a copy")
    until(lambda: is_open(node.settings["page"]["port"]), 60, "the page is served")
    assert all(status >= 400 for status in asked_of_the_page(node.settings["page"]["port"]))
    yield node
    node.stop()


def test_c51_no_canary_is_in_logs_ledger_audit_messages_names_or_command_lines(lived):
    node = lived
    places = {
        "log": node.log.read_bytes(),
        "names": "\n".join(name.removeprefix(str(node.folder)) for name in names_below(node.folder)).encode(),
        "ledger": b"\n".join(ledger_text(Path(n)) for n in names_below(node.state_dir) if n.endswith(".sqlite")),
        "command lines": b"\n".join(command_line(process.pid) for process in node.tree()),
    }
    for arguments in COMMANDS:
        places[" ".join(arguments)] = output(node, arguments)
    support = node.folder / "support.tar.gz"
    output(node, ["support-bundle", "--output", str(support), "--log", str(node.log)])
    with tarfile.open(support) as archive:
        places["support bundle"] = b"".join(archive.extractfile(member).read() for member in archive)
    for path in PAGES:
        with urlopen(f"http://127.0.0.1:{node.settings['page']['port']}{path}", timeout=120) as answer:
            places[path] = bytes(answer.read()) + str(answer.headers).encode()
    # A title is a machine's name, and a person must read who was turned away: in this one field, and in no other.
    places["log"] = places["log"].replace(b'"calling_ae": "%s"' % STRANGER, b"")
    assert node.events("association.refused")[-1]["calling_ae"] == STRANGER.decode()
    hits = {name: sorted(set(found(text))) for name, text in places.items()}
    assert {name: some for name, some in hits.items() if some} == {}
    assert EXAMINATION["StudyInstanceUID"].encode() in places["log"]
    assert EXAMINATION["StudyInstanceUID"].encode() in places["studies"]
    assert EXAMINATION["StudyInstanceUID"].encode() in places["/"]
    assert b"copies/1.2.3.51.v1.json" in places["names"]
    assert len(places["ledger"]) > 1000
    assert len(places["support bundle"]) > 1000
    spooled = b"".join(path.read_bytes() for path in (node.state_dir / "instances").rglob("*") if path.is_file())
    assert spooled.count(CANARY.encode()) > 100  # the canaries did arrive


def test_c51_no_process_that_has_seen_an_image_leaves_its_memory_behind(lived):
    """Neither as a core file nor to a program that the kernel hands cores to; nor by a unit."""
    seen = {process.pid: line for process in lived.tree() if (line := core_limits(process.pid)) is not None}
    assert len(seen) >= 3
    assert {limits for _, *limits_ in seen.values() for limits in limits_} == {"0"}, seen
    for unit in (REPOSITORY / "systemd").glob("*.service"):
        assert "\nLimitCORE=0\n" in unit.read_text(), unit.name


def found(text: bytes) -> list[bytes]:
    lowered, canary = text.lower(), CANARY.lower().encode()
    at = [n for n in range(len(lowered)) if lowered.startswith(canary, n)]
    return [text[max(0, n - 30) : n + 20] for n in at]


def ledger_text(path: Path) -> bytes:
    """Return everything that the ledger holds, freed pages and write-ahead log too."""
    with sqlite3.connect(path) as connection:
        dump = "\n".join(connection.iterdump())
    return dump.encode() + b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))


def command_line(process: int) -> bytes:
    folder = Path("/proc") / str(process)
    try:
        return folder.joinpath("cmdline").read_bytes() + folder.joinpath("environ").read_bytes()
    except OSError:  # a helper that has done its work
        return b""


def core_limits(process: int) -> tuple[str, str, str, str] | None:
    """Return the command line, the two limits of a core file's size, and what goes into one; None for the supervisor.

    None also for a process that has ended meanwhile.
    """
    folder = Path("/proc") / str(process)
    try:
        line = folder.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
        (limit,) = (one for one in (folder / "limits").read_text().splitlines() if one.startswith("Max core"))
        kept = int((folder / "coredump_filter").read_text(), 16)
    except (OSError, ValueError):
        return None
    if "dicom_node.services" not in line and "sandbox" not in line:
        return None  # the supervisor has seen no image
    soft, hard = limit.split()[4:6]
    return line, soft, hard, str(kept)


def output(node: Node, arguments: list[str]) -> bytes:
    """Return what a command says; within this process, since a dozen starts of Python would take longest here."""
    if arguments[0] == "replay":  # sets up the log, and this process's is every other test's
        line = [command(), *arguments, "--config", str(node.config)]
        return subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120).stdout
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        main([*arguments, "--config", str(node.config)])
    return said.getvalue().encode()
