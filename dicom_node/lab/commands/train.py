"""`dicom-node lab train`: a classifier on image labels, for the triage or as the folder-data CNN."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dicom_node.lab.hybrid import Classifier, Shape
    from dicom_node.lab.hybrid_train import Recipe

SUMMARY: Final = "train a classifier (ResNet-18 or the compact network) on image labels"
INTERRUPTED: Final = 130
_DETAILS: Final = """\
goes in:   --data, one of
             MURA       folder with train_image_paths.csv, train_labeled_studies.csv and the same for valid
             folder     train/ and val/, each with "fractured" and "not fractured"
             CSV        file whose first line is image,label,group (and perhaps study,region,split)
             FracAtlas  folder with dataset.csv, fractures.json and images/
           without a split in the data a fifth of the groups becomes validation; a group is never split
comes out: in --out: best.pt (the network), scores.csv and maps.npz (validation: logit, probability and evidence map of
           every image), metrics.json, pictures/, report.html, config.json, log.txt
after Ctrl-C the same command goes on after the last finished epoch

--system hybrid      one logit, binary cross-entropy, AdamW: then `lab gate` makes three outcomes of it
--system folder-cnn  two classes, cross-entropy, Adam: then `lab gradcam` draws where it looked
of either, `lab gate` and then `lab export` make a bundle that a node serves

example:   dicom-node lab train --data MURA-v1.1 --out runs/mura --weights resnet18-f37072fd.pth
           dicom-node lab train --data bones/ --system folder-cnn --out runs/bones --epochs 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the labelled images: a folder or a CSV file, see below")
    add("--out", type=Path, required=True, help="the run's folder: new, or one to be resumed")
    add(
        "--layout", choices=("auto", "mura", "folder", "csv", "fracatlas"), default="auto", help="default: by its files"
    )
    add("--system", choices=("hybrid", "folder-cnn"), default="hybrid", help="default: hybrid, see below")
    add("--network", choices=("resnet18", "compact"), default="resnet18", help="default: resnet18")
    add(
        "--preprocessing",
        choices=("stretch", "lcn-letterbox-512-v1"),
        default="stretch",
        help="stretch: grey levels, both sides to --side as published (default); or a bundle's own at 512 px",
    )
    add(
        "--side",
        type=int,
        default=0,
        help="side of the network's input in pixels, a multiple of 32 (default 224, or 512)",
    )
    add("--weights", type=Path, help="torchvision's published ResNet-18 state dict (.pth) to start from")
    add("--epochs", type=int, default=100, help="at most so many (default 100)")
    add("--patience", type=int, default=10, help="stop after so many epochs without a better AUC (default 10)")
    add("--batch", type=int, default=32, help="images a step (default 32)")
    add("--rate", type=float, default=0.0, help="learning rate (default 3e-5 from --weights, else 3e-4)")
    add("--decay", type=float, default=1e-4, help="weight decay (default 1e-4)")
    add("--no-class-weights", action="store_true", help="do not weigh fractures by their rarity")
    add("--no-augment", action="store_true", help="show the training images as they are, without mirror, turn and zoom")
    add("--seed", type=int, default=1, help="of split, weights, order and augmentation (default 1)")
    add("--threads", type=int, default=0, help="CPU threads of the network (default: all)")
    add("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default)")


def run(args: argparse.Namespace) -> int:
    """Train, score the validation images, and say how good it is."""
    import cv2  # noqa: PLC0415 - loaded only where it is used: `--help` stays quick
    import torch  # noqa: PLC0415

    from dicom_node.lab import hybrid, hybrid_run, hybrid_train, layouts  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import RunFolder  # noqa: PLC0415

    cv2.setNumThreads(1)
    if args.threads:
        torch.set_num_threads(args.threads)
    shape, recipe = shape_of(args), recipe_of(args)
    listing = layouts.read(args.data, args.layout, args.seed)
    folder = RunFolder.open(args.out, _config(args, shape, recipe))
    material = hybrid.gather(listing, shape, folder.path)
    say(hybrid_run.account(material.listing.counts()))
    torch.manual_seed(args.seed)
    task = hybrid_train.Task(_network(args, shape), shape, material, recipe, folder.path, device_of(args.device))
    try:
        trained = hybrid_train.train(task)
    except KeyboardInterrupt:
        folder.log("interrupted")
        say(f"interrupted; the same command goes on after the last finished epoch in {args.out}")
        return INTERRUPTED
    model, _ = hybrid.load(folder.path)
    rows, places = material.of(layouts.VAL)
    answers = hybrid.answer(model, material.inputs, places, task.device)
    hybrid_run.save_answers(folder, shape, rows, answers)
    found = hybrid_run.report(folder, shape, material, trained, answers, folder_data=args.system == "folder-cnn")
    folder.log(f"finished after {len(trained.history)} epochs")
    say(_summary(found["validation"]))
    say(f"{args.out / 'report.html'}")
    return 0


def _summary(validation: dict[str, Any]) -> str:
    from dicom_node.lab.hybrid_run import shown  # noqa: PLC0415 - as above

    at = validation["at_the_likelier_class"]
    return (
        f"validation: ROC-AUC {shown(at.roc_auc)}, precision {shown(at.precision)}, "
        f"sensitivity {shown(at.sensitivity)}, specificity {shown(at.specificity)} (at p = 0.5)"
    )


def shape_of(args: argparse.Namespace) -> Shape:
    """Return the network and input that the arguments name."""
    from dicom_node.lab.hybrid import STRETCH, Shape  # noqa: PLC0415 - as above

    side = args.side or (224 if args.preprocessing == STRETCH else 512)
    return Shape(args.network, 2 if args.system == "folder-cnn" else 1, args.preprocessing, side)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments describe."""
    from dicom_node.lab.hybrid_train import Recipe  # noqa: PLC0415 - as above

    return Recipe(
        optimizer="adam" if args.system == "folder-cnn" else "adamw",
        rate=args.rate or (3e-5 if args.weights else 3e-4),
        decay=args.decay,
        batch=args.batch,
        epochs=args.epochs,
        patience=args.patience,
        weighting=not args.no_class_weights,
        augment=not args.no_augment,
        seed=args.seed,
    )


def device_of(name: str) -> str:
    """Return the device to run on."""
    import torch  # noqa: PLC0415 - as above

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _network(args: argparse.Namespace, shape: Shape) -> Classifier:
    import pickle  # noqa: PLC0415 - only its error's name: nothing is unpickled here

    import torch  # noqa: PLC0415 - as above

    from dicom_node.lab import hybrid  # noqa: PLC0415 - as above
    from dicom_node.lab.resnet import ResNet18, load_published  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    model = hybrid.build(shape)
    if args.weights is None:
        return model
    if not isinstance(model, ResNet18):
        message = "--weights are torchvision's for ResNet-18; the compact network is trained from scratch"
        raise LabError(message)
    try:
        found = torch.load(args.weights, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        message = f"{args.weights}: not a file of plain tensors ({type(error).__name__})"
        raise LabError(message) from None
    load_published(model, found)
    return model


def _config(args: argparse.Namespace, shape: Shape, recipe: Recipe) -> dict[str, object]:
    import hashlib  # noqa: PLC0415 - as above
    from dataclasses import asdict  # noqa: PLC0415 - as above

    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    digest = None
    if args.weights is not None:
        if not args.weights.is_file():
            message = f"{args.weights}: there is no such file"
            raise LabError(message)
        digest = hashlib.sha256(args.weights.read_bytes()).hexdigest()
    what = {"command": "train", "data": str(args.data.resolve()), "layout": args.layout, "system": args.system}
    return {**what, "network": asdict(shape), "recipe": asdict(recipe), "weights_sha256": digest}
