"""What the code must not do with bytes that somebody else wrote, whether a data set or a model (C24, C36)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "dicom_node"
READS_OBJECTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "torch"}
# Not the lab: training needs torch, and a published probe is read by an unpickler that builds arrays and nothing else.
WHERE_DATA_SETS_ARE_RECEIVED = ("part10", "intake", "dimse", "services", "report", "inference", "deliver")
DATA_SETS = {"ds", "dataset", "data_set", "header", "source", "item", "received", "instance"}


def parsed(*folders: str) -> dict[str, ast.AST]:
    """Return the syntax tree of every file of these folders of the package, by its path within the package."""
    paths = [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def served() -> dict[str, ast.AST]:
    return {name: tree for name, tree in parsed(".").items() if not name.startswith("lab/")}


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def calls(tree: ast.AST) -> list[str]:
    """Return every call as `name(argument)` or `argument.name()`, of the forms that matter here."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                found.append(f"{ast.unparse(node.func)}()")
            else:
                found += [f"{ast.unparse(node.func)}({ast.unparse(argument)})" for argument in node.args[:1]]
        elif isinstance(node, ast.FormattedValue):
            found.append(f"str({ast.unparse(node.value)})")
    return found


def is_torch_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"


def text_of_a_data_set(tree: ast.AST) -> list[str]:
    """Return the calls that make pydicom write a data set out or visit it all: its errors grow with the nesting."""
    spelled = {f"{kind}({name})" for kind in ("str", "repr", "print") for name in DATA_SETS}
    visits = (".walk()", ".remove_private_tags()", ".formatted_lines()", ".to_json()", ".to_json_dict()", ".top()")
    own = ("os.walk()", "ast.walk()")
    return [call for call in calls(tree) if call in spelled or (call.endswith(visits) and call not in own)]


def test_case_c36_nothing_that_serves_imports_what_runs_code_from_a_file() -> None:
    files = served()
    assert len(files) > 150
    assert {name: found for name, tree in files.items() if (found := imported(tree) & READS_OBJECTS)} == {}


def test_case_c36_nothing_calls_a_loader_that_may_run_code() -> None:
    loaders = ("torch.load()", "pickle.load()", "pickle.loads()", "joblib.load()")
    files = parsed(".")
    found = {
        name: [call for call in calls(tree) if call in loaders or call.startswith(("eval(", "exec("))]
        for name, tree in files.items()
    }
    called = {name: set(some) for name, some in found.items() if some}
    # The lab reads back the weights that it trained itself, and only as tensors.
    assert {name for name in called if not name.startswith("lab/")} == set()
    assert set().union(*called.values()) <= {"torch.load()"}
    loads = [node for tree in files.values() for node in ast.walk(tree) if is_torch_load(node)]
    assert loads
    assert all("weights_only=True" in ast.unparse(node) for node in loads)
    arrays = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in parsed(".").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
    ]
    assert arrays == []


def test_c24_no_received_data_set_is_written_out_or_visited_whole() -> None:
    files = parsed(*WHERE_DATA_SETS_ARE_RECEIVED)
    assert {name: found for name, tree in files.items() if (found := text_of_a_data_set(tree))} == {}


@pytest.mark.parametrize("code", ["str(ds)", "f'{header}'", "ds.walk(print)", "repr(dataset)", "self.header.walk(x)"])
def test_the_rule_sees_what_it_is_about(code: str) -> None:
    assert text_of_a_data_set(ast.parse(code))
    assert not text_of_a_data_set(ast.parse("str(ds.PatientID); os.walk(root); f'{header.uid}'"))
