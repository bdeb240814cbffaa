"""Checks of a ledger that is on a PostgreSQL server."""

from __future__ import annotations

from dicom_node.cli.doctor.findings import Finding, Patient, bad, good, note
from dicom_node.core.errors import LedgerError

_MIB = 1 << 20


def ledger(patient: Patient) -> Finding:
    """Check that the server answers, and that it keeps what it was told to keep."""
    from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import
    from dicom_node.ledger.postgres import nature  # noqa: PLC0415 - as above

    name, server = "ledger", patient.folders.ledger
    try:
        overview = Overview(server)
        with overview.reading() as connection:
            found = nature(connection)
    except LedgerError as error:
        if "not been started" in str(error):
            return note(name, str(error), "its tables are made at the first start")
        return bad(name, str(error), "start the server, or mend node.ledger_url; meanwhile C-STORE is answered 0xA700")
    if found.unsafe:
        off = ", ".join(found.unsafe)
        return bad(
            name, f"{server} has {off} off: what is acknowledged may be lost", f"switch {off} on in its settings"
        )
    if not overview.is_sound():
        return bad(name, f"{server} met wrong checksums", "stop the node; its server's log says where; put a dump back")
    return good(name, f"PostgreSQL {found.version} at {server}, {found.size // _MIB} MiB; back it up there (pg_dump)")
