"""Which way imports go: read from the code itself, so that the rule cannot be forgotten."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("listings", "products", "embeddings", "clusters", "summaries", "marts")
#: Modules of a room that form its Dagster shell; everything else in it is pure.
SHELLS = ("assets", "checks", "graph", "ports")
HEAVY = {
    "torch",
    "mlflow",
    "sentence_transformers",
    "great_expectations",
    "sklearn",
    "matplotlib",
    "dbt",
    "dagster_dbt",
}
PACKAGES = ("assets", "resources", "sensors", "orchestration")


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, at_import_only: bool = False) -> Iterator[str]:
    """Yield every module that `path` imports; with `at_import_only`, only what loading it really imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _statements(tree) if at_import_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when the module is loaded: not the bodies of functions, not what is for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _statements(child)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    package, *rest = name_of(path).split(".")
    for imported in imports(path):
        target, *below = imported.split(".")
        if target not in PACKAGES:
            continue
        allowed = {
            "orchestration": {"orchestration", "sensors", "assets", "resources"},
            "sensors": {"sensors", "assets", "resources"},
            "assets": {"assets"},
            "resources": {"resources", "assets"},
        }[package]
        assert target in allowed, f"{name_of(path)} imports {imported}"
        if package == "resources" and target == "assets" and below and below[0] in ROOMS:
            assert below[1:2] in ([], ["ports"], ["schema"]), f"{name_of(path)} reaches into a room: {imported}"
        if package == "assets" and target == "assets" and rest and rest[0] in ROOMS and below and below[0] in ROOMS:
            _assert_room_may_import(rest[0], below, name_of(path), imported)


def _assert_room_may_import(room: str, below: list[str], importer: str, imported: str) -> None:
    if below[0] == room:
        return
    assert ROOMS.index(below[0]) < ROOMS.index(room), f"{importer} imports from a later room: {imported}"
    assert below[1:2] in ([], ["schema"]), f"{importer} imports more than the schema of an earlier room: {imported}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_pure_logic_knows_neither_dagster_nor_resources(path: Path) -> None:
    parts = name_of(path).split(".")
    if parts[0] != "assets" or len(parts) < 3 or parts[2] in SHELLS:
        return
    for imported in imports(path):
        top = imported.split(".")[0]
        assert top not in ("dagster", "resources", "sqlalchemy", "psycopg"), f"{name_of(path)}: {imported}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    for imported in imports(path, at_import_only=True):
        assert imported.split(".")[0] not in HEAVY, f"{name_of(path)} imports {imported} when it is loaded"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_has_a_doorplate(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{name_of(path)} says nothing of what belongs in it"
    if path.name != "__init__.py" and "versions" not in path.parts:
        flat = " ".join(docstring.split())
        assert "Belongs here:" in flat, name_of(path)
        assert "Not here:" in flat, name_of(path)


def test_only_the_settings_read_the_environment() -> None:
    readers = {name_of(path) for path in modules() if {"os.environ", "os.getenv"} & set(_names(path))}
    # One writes it for the libraries that read theirs from it; the others pass it on to what they start.
    assert readers <= {
        "orchestration.settings",
        "orchestration.context",
        "orchestration.supervision",
        "orchestration.servers",
        "resources.dbt_runner",
    }


def _names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_no_pickle_and_no_vague_module_names() -> None:
    for path in modules():
        assert path.stem not in ("utils", "helpers", "common", "misc"), path
        assert not {"pickle", "cloudpickle", "joblib"} & set(imports(path)), path
