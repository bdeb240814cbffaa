"""What takes precedence over the configuration file: credentials, then the environment. Each keeps where it came from.

`DICOM_NODE__NODE__PORT=104` sets node.port; `DICOM_NODE__DESTINATIONS__PACS__HOST` sets the host of the destination
called pacs. A credential is a file called `node.port` or `destinations.pacs.host`: systemd's LoadCredential= brings it,
else it lies in the folder `credentials` beside the configuration, for its owner only.
"""

from __future__ import annotations

import os
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from dicom_node.core.errors import SettingsError

PREFIX = "DICOM_NODE__"
_FOLDER = "credentials"


@dataclass(frozen=True, slots=True)
class Override:
    """A value for one key, as text; `source` names the variable or the file, `file` is there for a credential."""

    key: tuple[str, ...]
    text: str
    source: str
    file: Path | None = None


def collect(config: Path, environment: Mapping[str, str] | None = None) -> tuple[Override, ...]:
    """Return what overrides a configuration file, the strongest last. Raises SettingsError on a credential for all."""
    variables = os.environ if environment is None else environment
    loaded: list[Override] = []
    if variables.get("CREDENTIALS_DIRECTORY"):
        loaded = _credentials(Path(variables["CREDENTIALS_DIRECTORY"]), ())
    # What systemd has brought may well be root's own in the folder that it came from.
    found = [*_credentials(config.resolve().parent / _FOLDER, {one.key for one in loaded}, own=True), *loaded]
    names = sorted(name for name in variables if name.startswith(PREFIX))
    return (*found, *(Override(_key(name), variables[name], name) for name in names))


def _key(variable: str) -> tuple[str, ...]:
    return tuple(variable.removeprefix(PREFIX).lower().split("__"))


def _credentials(folder: Path, known: Collection[tuple[str, ...]], *, own: bool = False) -> list[Override]:
    try:
        files = sorted(folder.iterdir())
    except OSError:  # not there, or not for this program: a worker needs none
        return []
    found = []
    for file in files:
        # systemd names what it took from a folder for the folder and the file.
        name = file.name.removeprefix(f"{_FOLDER}_")
        if "." not in name or not file.is_file() or tuple(name.split(".")) in known:
            continue
        if own and file.stat().st_mode & 0o077:
            message = f"{file}: may be read by others: chmod 400 {file}"
            raise SettingsError(message)
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            message = (
                f"{file}: cannot be read ({type(error).__name__}); it must be text, and belong to the service's user"
            )
            raise SettingsError(message) from error
        found.append(Override(tuple(name.split(".")), text, str(file), file))
    return found


def place(raw: dict[str, Any], override: Override, value: Any) -> tuple[str | int, ...]:
    """Put a value where its key says, and return that place; a destination goes by its name. Raises SettingsError."""
    here: Any = raw
    location: list[str | int] = []
    for part in override.key[:-1]:
        step: str | int = part
        if isinstance(here, list):
            step = _named(here, part, override)
        elif part not in here:
            here[part] = {}
        here = here[step]
        location.append(step)
        if not isinstance(here, (dict, list)):
            break
    if not isinstance(here, dict):
        message = f"{override.source}: there is no setting {'.'.join(override.key)}"
        raise SettingsError(message)
    here[override.key[-1]] = value
    return (*location, override.key[-1])


def _named(blocks: list[Any], name: str, override: Override) -> int:
    for number, block in enumerate(blocks):
        called = str(block.get("name", block.get("ae_title", ""))) if isinstance(block, dict) else ""
        if called.replace("-", "_").lower() == name.replace("-", "_"):
            return number
    message = f"{override.source}: {'.'.join(override.key[:-2])} has no block called {name!r}"
    raise SettingsError(message)


def field_type(section: Any, name: str) -> Any:
    """Return the type of a section's setting, or None where it has no such one."""
    if not (isinstance(section, type) and issubclass(section, BaseModel)) or name not in section.model_fields:
        return None
    return _plain(section.model_fields[name].annotation)


def _plain(annotation: Any) -> Any:
    """Return the type that a setting has where it is set: of one that may be absent, the other alternative."""
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation
    present = [one for one in get_args(annotation) if one is not type(None)]
    return present[0] if len(present) == 1 else None
