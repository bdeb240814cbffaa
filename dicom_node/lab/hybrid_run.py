"""What a trained classifier leaves in its run folder: validation scores and maps, figures, pictures and the report."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.core.radiograph import EvidenceMap
from dicom_node.lab import case_pictures, figures, folder_cnn, hybrid, layouts, metrics, selective
from dicom_node.lab import evaluation_measures as measures
from dicom_node.lab.case_pictures import Marks, Scored
from dicom_node.lab.gate_policies import Cases
from dicom_node.lab.layouts import VAL
from dicom_node.lab.runs import LabError, Section

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.lab.hybrid import Answers, Material, Shape
    from dicom_node.lab.hybrid_train import Trained
    from dicom_node.lab.layouts import Row
    from dicom_node.lab.runs import RunFolder

SCORES: Final = "scores.csv"
MAPS: Final = "maps.npz"
_COLUMNS: Final = ("image", "label", "group", "study", "region", "z", "p")


def save_answers(run: RunFolder, shape: Shape, rows: tuple[Row, ...], answers: Answers) -> None:
    """Write scores.csv (a row an image) and maps.npz (row for row: evidence maps and body cells)."""
    p = hybrid.sigmoid(answers.z)
    with (run.path / SCORES).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        for row, z, one in zip(rows, answers.z.tolist(), p.tolist(), strict=True):
            writer.writerow([row.path, int(row.label), row.group, row.study, row.region, repr(z), f"{one:.6f}"])
    height, width = answers.maps.shape[1:]
    body = np.stack([shape.prepare(grey).body_cells(height, width) for grey in hybrid.read_grey(rows)])
    np.savez(run.path / MAPS, maps=answers.maps, body=body, bias=np.float64(answers.bias))


def load_cases(run: Path) -> tuple[list[str], Cases]:
    """Return the validation images' paths, and what their run says about them."""
    try:
        with (run / SCORES).open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        with np.load(run / MAPS) as found:
            maps, body, bias = found["maps"], found["body"], float(found["bias"])
    except FileNotFoundError as error:
        message = f"{error.filename}: missing; give the folder of a finished `lab train`"
        raise LabError(message) from None
    z = np.array([float(row["z"]) for row in rows])
    gap = float(np.abs(maps.sum((1, 2), dtype=np.float64) + bias - z).max()) if len(maps) == len(z) > 0 else np.inf
    if not gap <= 1e-3:  # noqa: PLR2004 - models.md
        message = f"{run}: {MAPS} and {SCORES} are not of one run (a map is {gap:.2g} away from its score)"
        raise LabError(message)
    group, study, region = (np.array([row[name] for row in rows]) for name in ("group", "study", "region"))
    labels = np.array([row["label"] == "1" for row in rows], dtype=np.bool_)
    return [row["image"] for row in rows], Cases(labels, group, study, region, z, maps, body)


def report(
    run: RunFolder, shape: Shape, material: Material, trained: Trained, answers: Answers, *, folder_data: bool
) -> dict[str, Any]:
    """Write metrics.json, the pictures and report.html of a trained run, and return the metrics."""
    rows, _ = material.of(VAL)
    labels = np.array([row.label for row in rows], dtype=np.bool_)
    groups = np.array([row.group for row in rows])
    p = hybrid.sigmoid(answers.z)
    confidence, loss = selective.likelier(labels, p)
    found = {
        "images": material.listing.counts(),
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "pos_weight": trained.pos_weight,
        "validation": {
            "roc_auc": metrics.auc(labels, p),
            "roc_auc_95_by_group": metrics.group_interval(groups, labels, p, metrics.auc, seed=1, draws=500),
            "average_precision": metrics.average_precision(labels, p),
            "brier": metrics.brier(labels, p),
            "calibration_error": metrics.calibration_error(labels, p),
            "aurc": selective.aurc(confidence, loss),
            "augrc": selective.augrc(confidence, loss),
            "at_the_likelier_class": folder_cnn.figures(labels, p),
        },
        "evidence_residue": answers.residue,
        "note": "the epoch kept was chosen on these same validation images, so their figures are a little too good",
    }
    run.save_metrics(found)
    title, sections = _page(run, material, trained, (labels, p), folder_data=folder_data)
    run.write_report(title, [*sections, _cases(run, shape, rows, answers)])
    return found


def _cases(run: RunFolder, shape: Shape, rows: tuple[Row, ...], answers: Answers) -> Section:
    def marks(row: int) -> Marks:
        grey = layouts.decode(rows[row].path.read_bytes())
        prepared, values = shape.prepare(grey), answers.maps[row]
        shown = EvidenceMap(values, prepared.body_cells(*values.shape), prepared.geometry, "evidence")
        return Marks(rows[row].boxes, shown)

    labels = np.array([row.label for row in rows], dtype=np.bool_)
    scored = Scored([row.path for row in rows], labels, hybrid.sigmoid(answers.z))
    words = "Of the validation images, called positive from p = 0.5 on; the probability is not calibrated."
    sheet = case_pictures.contact_sheet(run.picture("cases"), scored, marks)
    return Section("Best and worst cases", words, pictures=[sheet])


def _page(
    run: RunFolder,
    material: Material,
    trained: Trained,
    scored: tuple[NDArray[np.bool_], NDArray[np.float64]],
    *,
    folder_data: bool,
) -> tuple[str, list[Section]]:
    labels, p = scored
    at = folder_cnn.figures(labels, p)
    name = "network"
    counts = [[at.true_negative, at.false_positive], [at.false_negative, at.true_positive]]
    pictures = [
        figures.roc(run.picture("roc"), labels, {name: p}),
        figures.precision_recall(run.picture("precision-recall"), labels, {name: p}),
        figures.reliability(run.picture("reliability"), {name: measures.reliability(labels, p)}),
        figures.risk_coverage(
            run.picture("risk-coverage"), {name: selective.risk_coverage(*selective.likelier(labels, p))}
        ),
        figures.confusion(run.picture("confusion"), "Confusion at p = 0.5", counts, ["not fractured", "fractured"]),
    ]
    table = [("figure", "validation")]
    table += [(field.replace("_", " "), shown(getattr(at, field))) for field in at.__slots__]
    title = "Folder-data CNN" if folder_data else "Hybrid CNN for triage"
    return title, [
        Section("Images", account(material.listing.counts())),
        Section(
            "Training",
            f"{len(trained.history)} epochs; the best validation AUC, {trained.best_auc:.4f}, was reached in epoch "
            f"{trained.best_epoch}. It was chosen on the validation images, so their figures are a little too good.",
            pictures=[figures.history(run.picture("training"), trained.history, trained.best_epoch)],
        ),
        Section("Validation", "Called positive from p = 0.5 on.", table, pictures),
    ]


def account(counts: dict[str, Any]) -> str:
    """Return where every listed image went, in one line."""
    excluded = counts["excluded"]
    reasons = ", ".join(f"{count} {code}" for code, count in excluded.items()) or "none"
    return f"{counts['listed']} listed = {counts['used']} used + {sum(excluded.values())} excluded ({reasons})"


def shown(value: float | None) -> str:
    """Return a figure as a reader wants it; an undefined one is a dash."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
