"""A function fits on a screen, a file can be read in one sitting. (At most 6 parameters: ruff, PLR0913.)"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "dicom_node").rglob("*.py")) + sorted((REPOSITORY / "tests").rglob("*.py"))
LINES_A_FILE, LINES_A_FUNCTION = 400, 60

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_and_its_functions_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    problems = [f"{lines} lines in the file"] if lines > LINES_A_FILE else []
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > LINES_A_FUNCTION:
            problems.append(f"{function.name}: {length} lines")
    assert problems == []
