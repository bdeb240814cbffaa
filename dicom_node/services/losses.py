"""Files of the spool that are not what was received: written down and taken out, so that they may be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.ledger import results, storage
from dicom_node.ledger.spool import data_set_digest

if TYPE_CHECKING:
    from dicom_node.ledger.results import ImageToAnalyse
    from dicom_node.ledger.spool import StateFolders
    from dicom_node.ledger.storage import Kept, Loss

log = structlog.get_logger(__name__)


def loss_of(folders: StateFolders, kept: Kept | ImageToAnalyse) -> Loss | None:
    """Return what is wrong with an instance's file, None where it is what was received. Raises OSError."""
    try:
        found = data_set_digest(folders.instance_path(kept.spool_key), kept.size)
    except FileNotFoundError:
        return "missing"
    return None if found == kept.sha256 else "damaged"


def set_aside(connection: Any, folders: StateFolders, kept: Kept | ImageToAnalyse, loss: Loss, now: float) -> bool:
    """Note a loss and move what is left of the file; false where the instance was purged meanwhile."""
    is_lost = storage.note_loss(connection, kept.instance_id, loss, now)
    if is_lost:
        folders.set_aside(folders.instance_path(kept.spool_key))
    return is_lost


def set_aside_as_told(connection: Any, folders: StateFolders, instance_id: int, now: float) -> None:
    """Set an image's file aside that a worker found not to be what was received."""
    image = results.image(connection, instance_id)
    is_there = folders.instance_path(image.spool_key).exists()
    set_aside(connection, folders, image, "damaged" if is_there else "missing", now)


def set_aside_lost(connection: Any, folders: StateFolders, version_id: int, now: float) -> None:
    """Look at the files of a version that could not be composed, and set those aside that are lost."""
    for image in results.images_of(connection, version_id):
        uids = {"study": image.study_instance_uid, "sop_instance": image.sop_instance_uid}
        try:
            loss = loss_of(folders, image)
            if loss is not None and set_aside(connection, folders, image, loss, now):
                log.error("instance.damaged", loss=loss, **uids)
        except OSError as error:
            log.error("instance.unreadable", reason=str(error.strerror), **uids)  # noqa: TRY400 - said in one line
