"""The architecture as a test: who may import whom, who may know torch, where optional packages live."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "actionparty"
LAYERS = (
    "threads",
    "errors",
    "vocabulary",
    "types",
    "config",
    "checkpoints",
    "worlds",
    "data",
    "model",
    "engines",
    "training",
    "rollout",
    "environment",
    "performance",
    "evaluation",
    "interfaces",
)
"""From left to right: a module imports only from its own layer and those before it."""
TORCH_FREE = LAYERS[: LAYERS.index("model")]
TORCH_IN_DATA = ("data/clips.py",)
MELTINGPOT = ("worlds/meltingpot.py", "worlds/meltingpot_sources.py")
OPTIONAL = {
    **dict.fromkeys(("absl", "dm_env", "dmlab2d", "immutabledict", "meltingpot", "ml_collections", "tree"), MELTINGPOT),
    "av": ("interfaces/video.py",),
    "matplotlib": ("training/log.py",),
    "mcp": ("interfaces/agents/mcp_server.py", "interfaces/agents/stdio.py"),
    "onnx": ("engines/store.py",),
    "onnxruntime": ("engines/onnx_runtime.py",),
    "onnxscript": (),
    "openvino": ("engines/openvino_runtime.py",),
    "psutil": (),
    "ray": ("data/ray_crew.py", "evaluation/ray_parts.py"),
    "gymnasium": ("environment/parallel.py", "environment/spaces.py"),
    "pettingzoo": ("environment/parallel.py",),
    "stable_baselines3": ("environment/sb3.py",),
    "supersuit": (),
    "tensordict": ("environment/torchrl.py",),
    "torchrl": ("environment/torchrl.py",),
}
"""Optional package -> the modules that are about it: imported nowhere else, and only inside functions."""
SUBCLASSES = ("environment/parallel.py", "environment/sb3.py", "environment/torchrl.py")
"""Modules made of a subclass from an optional package: they import it at their top, and are imported in functions."""
NEVER = ("pandas", "pytest", "hypothesis", "tensorflow", "jax", "pickle")

Import = tuple[str, bool, int]
"""Full dotted name, whether it runs when the module is imported, line."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(source: str) -> list[Import]:
    """All imports of a module; those under ``if TYPE_CHECKING`` never run and are left out."""
    return list(_imports(ast.parse(source), True))


def _imports(node: ast.AST, runs: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, runs, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            yield from ((f"{child.module}.{alias.name}", runs, child.lineno) for alias in child.names)
        else:
            yield from _imports(child, runs and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def layer_of(dotted: str) -> str | None:
    """The layer that ``actionparty.<layer>...`` names; None for another package and for ``actionparty`` itself."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "actionparty" and len(parts) > 1 and parts[1] in LAYERS else None


def wrong_direction(name: str, source: str) -> list[str]:
    own = name.split("/")[0].removesuffix(".py")
    if own not in LAYERS:
        return []
    return [
        f"{name}:{line} ({own}) imports {dotted}"
        for dotted, _, line in imports(source)
        if (layer := layer_of(dotted)) and LAYERS.index(layer) > LAYERS.index(own)
    ]


def test_the_rule_finds_what_it_forbids() -> None:
    assert wrong_direction("data/x.py", "def f():\n    from actionparty.model import ops") != []
    assert wrong_direction("model/x.py", "from actionparty.data import clips\nimport actionparty.types") == []
    assert imports("class A:\n    import av")[0] == ("av", True, 2)
    assert imports("def f():\n    import av")[0] == ("av", False, 2)
    assert imports("if TYPE_CHECKING:\n    import av") == []


def test_every_module_belongs_to_a_layer() -> None:
    strangers = {name_of(path).split("/")[0].removesuffix(".py") for path in modules()} - set(LAYERS)
    assert strangers <= {"__init__", "__main__"}


def test_imports_point_to_the_left() -> None:
    wrong = [text for path in modules() for text in wrong_direction(name_of(path), path.read_text())]
    assert wrong == []


def test_worlds_and_data_know_no_torch() -> None:
    wrong = [
        f"{name_of(path)}:{line}"
        for path in modules()
        if name_of(path).split("/")[0].removesuffix(".py") in TORCH_FREE and name_of(path) not in TORCH_IN_DATA
        for dotted, _, line in imports(path.read_text())
        if dotted.split(".")[0] == "torch" or dotted.rsplit(".", 1)[0] == "actionparty.data.clips"
    ]
    assert wrong == []


def test_importing_the_torch_free_layers_loads_no_torch() -> None:
    free = [
        "actionparty." + name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in modules()
        if name_of(path).split("/")[0].removesuffix(".py") in TORCH_FREE and name_of(path) not in TORCH_IN_DATA
    ]
    free += ["actionparty.interfaces.cli", "actionparty.interfaces.console"]
    script = (
        "import sys\nsys.path[:0] = sys.argv[1:2]\nfor name in sys.argv[2:]: __import__(name)\nprint([*sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script, str(PACKAGE.parent), *free], capture_output=True, text=True, check=True
    ).stdout
    heavy = {"torch", *NEVER, *OPTIONAL} - {"pickle"}
    assert not heavy & set(ast.literal_eval(loaded))


@pytest.mark.parametrize(("package", "homes"), OPTIONAL.items())
def test_optional_packages_stay_in_their_modules(package: str, homes: tuple[str, ...]) -> None:
    wrong = [
        f"{name_of(path)}:{line} {dotted}"
        for path in modules()
        for dotted, runs, line in imports(path.read_text())
        if dotted.split(".")[0] == package
        and (name_of(path) not in homes or (runs and name_of(path) not in SUBCLASSES))
    ]
    assert wrong == []


def test_modules_that_subclass_optional_packages_are_imported_in_functions_only() -> None:
    names = tuple("actionparty." + name.removesuffix(".py").replace("/", ".") for name in SUBCLASSES)
    wrong = [
        f"{name_of(path)}:{line} {dotted}"
        for path in modules()
        for dotted, runs, line in imports(path.read_text())
        if runs and dotted.startswith(names)
    ]
    assert wrong == []


def test_what_never_belongs_into_the_package() -> None:
    wrong = [
        f"{name_of(path)}:{line} {dotted}"
        for path in modules()
        for dotted, _, line in imports(path.read_text())
        if dotted.split(".")[0] in NEVER
    ]
    assert wrong == []


def texts() -> list[Path]:
    folders = (".ci", "src", "tests", "docs", "examples", "benchmarks", "web/src")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    kinds = (".py", ".md", ".toml", ".json", ".sh", ".ts", ".html", "")
    return [
        p for p in (*ROOT.glob("*.*"), *inside) if p.is_file() and p.suffix in kinds and "node_modules" not in p.parts
    ]


def test_no_machine_paths_or_registry_addresses() -> None:
    roots = "|".join(("work", "farm", "root", "opt", "tmp", "home"))
    registry = "|".join(("index" + "-url", "find" + "-links", "download.py" + "torch", "/simple" + "/"))
    pattern = re.compile(rf"(?<![\w./~$}}-])/(?:{roots})/[\w.]|{registry}")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert wrong == []


def test_no_notes_to_self() -> None:
    marks = re.compile(
        r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "raise NotImplemented" + "Error")) + r")\b"
    )
    assert [name_of(path) for path in modules() if marks.search(path.read_text())] == []


def test_layers_are_listed_once_and_in_the_order_of_the_contributing_guide() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    flow = " -> ".join(LAYERS[LAYERS.index("worlds") :])
    assert flow in guide
    assert all(a != b for a, b in pairwise(sorted(LAYERS)))
