"""How the node asks a destination whether it keeps what it stored."""

from __future__ import annotations

from typing import Final

from dicom_node.cli.conformance.markdown import table

_REQUEST: Final = """\
Asked of a destination with `commitment` other than "none", for the instances that it stored, one transaction (N-ACTION,
action type 1, a new Transaction UID) a delivery, up to 32 transactions in an association. Roles are the default ones:
the node is the SCU. The report (N-EVENT-REPORT, event type 1 or 2) is taken on the same association, which is kept for
up to 5 s, or on any later one that the destination opens: for that the node accepts Storage Commitment from a requestor
that proposes itself as the SCP (role selection), and such a requestor needs an entry in `node.peers`. Transactions
outlive restarts of the node."""

_FIND: Final = """\
C-FIND (`confirm_by_find`): Study Root, level IMAGE, one query an instance, by Study, Series and SOP Instance UID. What
is not found in four looks is sent again as above."""

_BEHAVIOUR: Final = (
    ("every instance is in the Referenced SOP Sequence", "the delivery is proved"),
    (
        "an instance is in the Failed SOP Sequence, whatever the Failure Reason",
        "the delivery is sent again, three times at most; then it waits for a person",
    ),
    (
        "no context accepted, or N-ACTION answered with 0x0122, 0x0123 or 0x0211",
        '"auto": storing is proof enough, or C-FIND with `confirm_by_find`; "required": asked again',
    ),
    (
        "N-ACTION answered with another failure, or no report",
        "asked again after 60 s, 120 s … 6 h, under a new UID; given up after 72 h, but a later report still counts",
    ),
)


def behaviour() -> str:
    """Return what is asked, and what is done about each answer."""
    return "\n\n".join([_REQUEST, table(("What the destination says", "What the node does"), _BEHAVIOUR), _FIND])
