"""The house: who may import whom. What the core is not allowed to know, it cannot depend on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HANDLER = Path(__file__).parents[2] / "handler"
CORE_MAY_IMPORT = {
    "__future__", "collections", "datetime", "enum", "hashlib", "json", "math", "re", "typing",
    "pydantic", "pydantic_core", "typing_extensions",
}  # fmt: skip
# What each layer may import of the others, besides itself.
LAYERS = {
    "core": set[str](),
    "intake": {"core", "masking"},
    "runtime": {"core"},
    "adapters": {"core", "masking", "redaction", "settings"},
    "masking": set(),
    "redaction": {"intake", "masking"},  # reads JSON in strings as messages do
    "settings": {"core", "masking"},
    "telemetry": {"core", "masking", "runtime"},
    "application": {"core", "intake", "runtime", "settings", "telemetry"},
    "app": {"core", "intake", "runtime", "adapters", "masking", "settings", "telemetry", "application"},
}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it; relative ones do not occur."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module.count(".") < 2 else {module}
            found.add(module)
    return found


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "handler" and len(parts) > 1 else None


FILES = sorted(HANDLER.rglob("*.py"))


@pytest.mark.parametrize("path", sorted((HANDLER / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_imports_nothing_that_has_an_effect(path: Path) -> None:
    others = {module.split(".")[0] for module in imports_of(path)} - {"handler"}
    assert others <= CORE_MAY_IMPORT, f"{path.name} imports what may have an effect"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HANDLER).as_posix())
def test_nothing_imports_upwards(path: Path) -> None:
    own = path.relative_to(HANDLER).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    allowed = LAYERS[own] | {own}
    used = {layer for module in imports_of(path) if (layer := layer_of(module))}
    assert used <= allowed, f"{path.relative_to(HANDLER)}: of handler, {own} may import {sorted(allowed)}"
    assert not {module.split(".")[0] for module in imports_of(path)} & {"local", "ops", "bench", "tests"}


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports inside functions count as well."""
    names = {path: "handler." + ".".join(path.relative_to(HANDLER).with_suffix("").parts) for path in FILES}
    graph = {name: imports_of(path) & set(names.values()) for path, name in names.items()}
    while graph:
        leaves = {name for name, used in graph.items() if not used & graph.keys() - {name}}
        assert leaves, f"these import each other: {sorted(graph)}"
        graph = {name: used for name, used in graph.items() if name not in leaves}
