"""`dicom-node bundle`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.toml_text import replace_values
from dicom_node.cli.words import print_json
from dicom_node.core.errors import BundleError, SettingsError
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.bundle_digest import bundle_digest
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.noting import note_by_hand

if TYPE_CHECKING:
    import argparse

    from dicom_node.inference.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do, and the bundle to switch to."""
    parser.add_argument(
        "action", nargs="?", choices=("verify", "list", "switch"), default="verify", help="(%(default)s)"
    )
    parser.add_argument("bundle", nargs="?", help="for switch: a bundle's folder, or its name among the listed ones")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify the configured bundle, list all, or switch to another; 1 with one line where one may not be used."""
    settings = configuration.load(arguments.config)
    if arguments.action == "list":
        return _list(settings, as_json=arguments.json)
    if arguments.action == "verify" and arguments.bundle:
        message = (
            f"verify looks at the configured bundle, not at {arguments.bundle}; `dicom-node bundle list` looks at all"
        )
        raise SettingsError(message)
    if arguments.action == "switch":
        return _switch(arguments, settings)
    analysis = settings.analysis
    bundle = load_bundle(analysis.bundle, analysis.bundle_sha256 or None)
    print_json(_facts(analysis.bundle, bundle)) if arguments.json else _print(bundle)
    return exits.GOOD


def _facts(folder: Path, bundle: Bundle) -> dict[str, Any]:
    manifest, gate = bundle.manifest, bundle.gate
    return {
        "folder": str(folder),
        "name": manifest.name,
        "version": manifest.version,
        "sha256": bundle.sha256,
        "p_low": gate.p_low,
        "p_high": gate.p_high,
        "intended_use": bundle.intended_use.statement,
        "demands": _demands(bundle),
        "demonstration": manifest.demonstration,
    }


def _demands(bundle: Bundle) -> dict[str, bool]:
    use = bundle.intended_use
    return {"body part": use.body_part_required, "age or birth date": use.age_required}


def _print(bundle: Bundle) -> None:
    manifest, gate = bundle.manifest, bundle.gate
    print(f"{manifest.title}: {manifest.name} {manifest.version}, verified")
    print(f"digest        {bundle.sha256}")
    print(f"gate          {gate.policy.value}: negative below {gate.p_low:.3f}, positive from {gate.p_high:.3f}")
    for region in gate.regions:
        told = "too few fractures to certify: inconclusive only" if region.p_low is None else f"{region.p_low:.3f}"
        print(f"  {region.name:<12}{told}")
    print(f"intended use  {bundle.intended_use.statement}")
    demands = [one for one, is_so in _demands(bundle).items() if is_so]
    if demands:
        print(f"demands       {' and '.join(demands)}: an image that does not state it is not analysed")
    if manifest.demonstration:
        print("A demonstration model: not for clinical use.")


def folders(settings: configuration.Settings) -> list[Path]:
    """Return the folders of bundles beside the configured one and in the installation."""
    parents = dict.fromkeys([settings.analysis.bundle.parent, configuration.installed_bundle_folder().parent])
    # What an import that was killed has left begins with a full stop: it may be whole, and was never tried.
    found = [file.parent for parent in parents for file in sorted(parent.glob("[!.]*/manifest.toml"))]
    return list(dict.fromkeys(found))


def _list(settings: configuration.Settings, *, as_json: bool) -> int:
    rows = [_row(folder, settings) for folder in folders(settings)]
    if as_json:
        print_json(rows)
    for row in [] if as_json else rows:
        told = row["problem"] or f"{row['name']} {row['version']}"
        print(f"{'used' if row['used'] else '    '}  {row['folder']}: {told}")
    return exits.GOOD


def _lasting(folder: Path) -> Path:
    """Return the installation's own copy of the same bundle, where it has one: an earlier version's goes some day."""
    own = configuration.installed_bundle_folder().parent / folder.name
    return own if own.is_dir() and bundle_digest(own) == bundle_digest(folder) else folder


def _change(config: Path, folder: Path, sha256: str) -> None:
    """Write a bundle and its digest into a configuration, whose owner, group and mode stay."""
    text, was = config.read_text(encoding="utf-8-sig"), config.stat()
    temporary = config.with_name(f".{config.name}.new")
    try:
        for name in (f"{folder.parent.name}/{folder.name}", str(folder)):
            # One of the installation's own goes by the short name: its folder is another after an upgrade.
            values = {"bundle": name, "bundle_sha256": sha256}
            temporary.write_text(replace_values(text, "analysis", values), encoding="utf-8")
            if configuration.load(temporary).analysis.bundle.resolve() == folder:
                break
        temporary.chmod(was.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(temporary, was.st_uid, was.st_gid)
        temporary.replace(config)
    finally:
        temporary.unlink(missing_ok=True)


def _row(folder: Path, settings: configuration.Settings) -> dict[str, Any]:
    used = folder.resolve() == settings.analysis.bundle.resolve()
    try:
        return {"used": used, "problem": None, **_facts(folder, load_bundle(folder, None))}
    except BundleError as error:
        return {"used": used, "problem": str(error), "folder": str(folder)}


def _switch(arguments: argparse.Namespace, settings: configuration.Settings) -> int:
    """Write another bundle and its digest into the configuration, once it is verified."""
    if not arguments.bundle:
        message = "dicom-node bundle switch needs a folder or a name; `dicom-node bundle list` shows them"
        raise SettingsError(message)
    named = [folder for folder in folders(settings) if folder.name == arguments.bundle]
    folder = _lasting(named[0]) if named else Path(arguments.bundle)
    bundle = load_bundle(folder, None)
    _change(arguments.config, folder.resolve(), bundle.sha256)
    told = f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.sha256}) from the next start on"
    note_by_hand(StateFolders.of(settings.node), "bundle.switched", told)  # without a ledger: the start says it
    if arguments.json:
        print_json(_facts(folder, bundle))
    else:
        print(
            f"{arguments.config}: {bundle.manifest.name} {bundle.manifest.version} from the next start on, and no other"
        )
        print("systemctl restart dicom-node.target")
    return exits.GOOD
