"""`dicom-node lab gradcam`: pictures of where a trained classifier looked, by two ways that must agree."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dicom_node.lab.hybrid import Classifier, Shape
    from dicom_node.lab.overlays import Explained
    from dicom_node.lab.runs import RunFolder

SUMMARY: Final = "draw where a trained classifier looked: pytorch-grad-cam beside the closed forms"
_AGREE: Final = 1e-4
_DETAILS: Final = """\
goes in:   --run, the folder of a finished `lab train`; the images of its validation are drawn (the surest hits, the
           worst misses and the worst false alarms), or the files named by --images
comes out: in --out (default: gradcam/ in the run's folder): pictures/, each the image, pytorch-grad-cam's overlay, our
           closed-form Grad-CAM and the signed evidence that sums to the score; metrics.json, report.html, log.txt
it fails where the two ways differ, or where an evidence map does not sum to its score

example:   dicom-node lab gradcam --run runs/bones --count 6
           dicom-node lab gradcam --run runs/bones --images hand.jpg wrist.png --out runs/two-pictures
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    add = parser.add_argument
    add("--run", type=Path, required=True, help="folder of a finished `lab train`")
    add("--images", type=Path, nargs="+", default=[], help="pictures to look at (default: of the run's validation)")
    add("--count", type=int, default=4, help="of each kind: hits, misses, false alarms (default 4)")
    add("--out", type=Path, help="folder of the pictures: new, or the same one again (default: RUN/gradcam)")


def run(args: argparse.Namespace) -> int:
    """Draw, compare and say how well the two ways agree."""
    from dicom_node.lab import gradcam, hybrid  # noqa: PLC0415 - loaded only where it is used: `--help` stays quick
    from dicom_node.lab.progress import say, track  # noqa: PLC0415
    from dicom_node.lab.runs import LabError, RunFolder  # noqa: PLC0415

    gradcam.load_reference()
    model, shape = hybrid.load(args.run)
    chosen = [("given", path) for path in args.images] or choose(args.run, args.count)
    if len(chosen) == 0:
        message = "no image to draw: --count is 0, or there is neither a hit, a miss nor a false alarm"
        raise LabError(message)
    config = {"command": "gradcam", "run": str(args.run.resolve()), "images": [str(path) for _, path in chosen]}
    folder = RunFolder.open(args.out or args.run / "gradcam", config)
    found = [_draw(folder, model, shape, number, one) for number, one in enumerate(track(chosen, "drawing"), 1)]
    worst = {name: max(one[name] for one in found) for name in ("grad_difference", "hires_difference", "residue")}
    folder.save_metrics({"images": len(found), "worst": worst, "each": found})
    _report(folder, found, worst)
    say(
        f"{len(found)} pictures; closed form against pytorch-grad-cam: Grad-CAM {worst['grad_difference']:.1e}, "
        f"HiResCAM {worst['hires_difference']:.1e} of the maximum; evidence sums to the score within "
        f"{worst['residue']:.1e}"
    )
    if max(worst["grad_difference"], worst["hires_difference"]) > _AGREE or worst["residue"] > gradcam.TOLERANCE:
        message = f"the two ways do not agree; see {folder.path / 'metrics.json'}"
        raise LabError(message)
    say(f"{folder.path / 'report.html'}")
    return 0


def choose(run: Path, count: int) -> list[tuple[str, Path]]:
    """Return the surest hits, the worst misses and the worst false alarms of a run's validation, with their kinds."""
    import numpy as np  # noqa: PLC0415 - as above

    from dicom_node.lab.hybrid_run import load_cases  # noqa: PLC0415 - as above

    images, cases = load_cases(run)
    called = cases.z >= 0.0
    chosen = []
    for kind, among, order in (
        ("hit", cases.labels & called, -cases.z),
        ("miss", cases.labels & ~called, cases.z),
        ("false-alarm", ~cases.labels & called, -cases.z),
    ):
        rows = np.flatnonzero(among)
        chosen += [(kind, Path(images[row])) for row in rows[np.argsort(order[rows], kind="stable")][:count].tolist()]
    return chosen


def _draw(folder: RunFolder, model: Classifier, shape: Shape, number: int, one: tuple[str, Path]) -> dict[str, Any]:
    import cv2  # noqa: PLC0415 - as above

    from dicom_node.lab import layouts, overlays  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    kind, path = one
    try:
        grey = layouts.decode(path.read_bytes())
    except (OSError, ValueError, SyntaxError) as error:
        message = f"{path}: cannot be read as a picture ({error})"
        raise LabError(message) from None
    explained = overlays.explain(model, shape, grey)
    picture = overlays.side_by_side(shape, grey, explained, _caption(kind, path, explained))
    target = folder.picture(f"{number:02d}-{kind}-{path.stem}")
    cv2.imwrite(str(target), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    facts = ("z", "grad_difference", "hires_difference", "residue")
    return {"image": str(path), "kind": kind, "picture": target.name, **{k: getattr(explained, k) for k in facts}}


def _caption(kind: str, path: Path, explained: Explained) -> str:
    import numpy as np  # noqa: PLC0415 - as above

    from dicom_node.lab.hybrid import sigmoid  # noqa: PLC0415 - as above

    p = float(sigmoid(np.array([explained.z]))[0])
    return f"{kind}: {path.name}  p = {p:.3f}  z = {explained.z:.3f}  |sum + c - z| = {explained.residue:.1e}"


def _report(folder: RunFolder, found: list[dict[str, Any]], worst: dict[str, float]) -> None:
    from dicom_node.lab.runs import Section  # noqa: PLC0415 - as above

    table = [("closed form against pytorch-grad-cam", "worst image")]
    table += [(name.replace("_", " "), f"{value:.2e}") for name, value in worst.items()]
    kinds = dict.fromkeys(one["kind"] for one in found)
    sections = [Section("Agreement", f"{len(found)} images, none left out.", table)]
    for kind in kinds:
        pictures = [folder.path / "pictures" / one["picture"] for one in found if one["kind"] == kind]
        sections.append(Section(kind.replace("-", " "), pictures=pictures))
    folder.write_report("Where the network looked", sections)
