"""Does the house stand as it is drawn: imports one way, one place that prints, light doors, sound examples?"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import environment
from mlptrain.spec.load import load_experiment

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mlptrain"
CONFIGS = sorted(path for suffix in ("*.yaml", "*.yml") for path in (ROOT / "configs").rglob(suffix))

# From the ground up; a module imports its own floor's own package and what lies below. Two on one floor are strangers.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("mlptrain",),  # the package itself: its version
    ("mlptrain.errors", "mlptrain.system", "mlptrain.numbers"),
    ("mlptrain.remedies",),
    ("mlptrain.component",),
    ("mlptrain._loops",),  # in C
    ("mlptrain.nn.arrays", "mlptrain.trackers.names"),
    ("mlptrain.randomness",),
    ("mlptrain.nn",),
    ("mlptrain.optim", "mlptrain.data"),
    ("mlptrain.metrics",),
    ("mlptrain.tasks",),
    ("mlptrain.dataset",),
    ("mlptrain.spec",),
    ("mlptrain.training",),
    ("mlptrain.target_scale",),
    ("mlptrain.runs",),
    ("mlptrain.gradcheck", "mlptrain.explain", "mlptrain.reference", "mlptrain.report", "mlptrain.trackers"),
    ("mlptrain.inspect", "mlptrain.lessons", "mlptrain.export", "mlptrain.serving"),
    ("mlptrain.checks", "mlptrain.rates"),
    ("mlptrain.notebook",),
    ("mlptrain.api",),
    ("mlptrain.sklearn",),
    ("mlptrain.plugins", "mlptrain.step_page"),
    ("mlptrain.cli",),
    ("mlptrain.__main__",),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
DOOR = FILES.pop("mlptrain")
"""The package itself, which imports its public names only when they are asked for."""


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """The modules of ours that `tree` imports, wherever in the file; `from a import b` may mean the module a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [full if (full := f"{base}.{alias.name}") in FILES else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "mlptrain")


IMPORTS = {
    name: set(imported(ast.parse(path.read_text()), name if path.name == "__init__.py" else name.rpartition(".")[0]))
    - {name}
    for name, path in FILES.items()
}


def floor(module: str) -> tuple[int, str]:
    """The number of the floor of `module` and the room there: the longest name of FLOORS that it lies in."""
    rooms = [(room, i) for i, names in enumerate(FLOORS) for room in names]
    fitting = [
        (room, i) for room, i in rooms if module == room or (module.startswith(f"{room}.") and room != "mlptrain")
    ]
    assert fitting, f"{module} has no place in the house: draw it in FLOORS"
    room, i = max(fitting, key=lambda pair: len(pair[0]))
    return i, room


def upward(imports: dict[str, set[str]]) -> list[str]:
    """Every import that does not lead down, or stay in its own room."""
    return [
        f"{module} -> {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if floor(other)[0] > floor(module)[0]
        or (floor(other)[0] == floor(module)[0] and floor(other)[1] != floor(module)[1])
    ]


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The modules from which a way of imports leads back to them."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(imports.get(start, ()))
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += imports.get(module, ())
        return seen

    return [module for module in imports if module in reachable(module)]


def test_the_walk_through_the_source_sees_it() -> None:
    assert len(FILES) >= 40
    assert "mlptrain.training.step" in IMPORTS["mlptrain.training.loop"]
    assert "mlptrain.runs.checkpoint" in IMPORTS["mlptrain.runs.run"]  # from mlptrain.runs import checkpoint as files
    assert "mlptrain.cli.fit" in IMPORTS["mlptrain.cli.app"]  # inside a function


def test_imports_lead_down() -> None:
    assert upward(IMPORTS) == []


def test_imports_make_no_circle() -> None:
    assert circles(IMPORTS) == []


def test_the_plan_can_be_broken() -> None:
    assert upward({"mlptrain.nn.losses": {"mlptrain.training.loop"}}) == [
        "mlptrain.nn.losses -> mlptrain.training.loop"
    ]
    assert upward({"mlptrain.data.split": {"mlptrain.optim.clipping"}}) == [
        "mlptrain.data.split -> mlptrain.optim.clipping"
    ]
    assert upward({"mlptrain.data.split": {"mlptrain.nn.losses"}, "mlptrain.nn.losses": {"mlptrain.nn.arrays"}}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def calls(path: Path) -> Iterator[str]:
    """Every dotted name that is used in a file: `print`, `sys.stdout.write`, `np.random.default_rng`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


LIBRARY = {
    name: path for name, path in FILES.items() if not name.startswith("mlptrain.cli") and name != "mlptrain.__main__"
}
PRINTS = ("print", "typer.echo", "sys.stdout", "sys.stderr", "rich.print", "click.echo")


@pytest.mark.parametrize("module", LIBRARY)
def test_the_library_neither_prints_nor_exits(module: str) -> None:
    leaves = ("sys.exit", "exit", "quit", "os._exit", "SystemExit", "os.abort", "typer.Exit")
    assert [name for name in calls(LIBRARY[module]) if name in (*PRINTS, *leaves) or name.startswith("sys.std")] == []


def test_the_library_knows_no_terminal() -> None:
    """Neither Rich nor Typer below the command line."""
    names = {name: path.read_text() for name, path in LIBRARY.items()}
    found = [
        (module, node.lineno)
        for module, text in names.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {"rich", "typer", "click"}
        & {getattr(node, "module", None) or "", *(a.name.split(".")[0] for a in node.names)}
    ]
    assert found == []


@pytest.mark.parametrize(
    "module", [name for name in FILES if name.startswith("mlptrain.cli.") and "console" not in name]
)
def test_only_the_console_prints_results(module: str) -> None:
    allowed = {"mlptrain.cli.app": {"typer.echo"}, "mlptrain.cli.streams": {"sys.stdout", "sys.stderr"}}.get(
        module, set()
    )
    assert {name for name in calls(FILES[module]) if name in PRINTS or name.startswith("sys.stdout")} <= allowed


FROM_OWN_STREAMS = {"Generator", "PCG64", "PCG64DXSM", "SeedSequence", "BitGenerator"}


@pytest.mark.parametrize("module", FILES)
def test_there_is_no_global_generator(module: str) -> None:
    """`np.random.normal` and its like draw from a stream that everybody shares; `random` is another."""
    used = [name for name in calls(FILES[module]) if re.fullmatch(r"(np|numpy)\.random\.\w+", name)]
    assert {name.split(".")[2] for name in used} <= FROM_OWN_STREAMS
    tree = ast.parse(FILES[module].read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "random" not in plain


def test_random_numbers_are_drawn_from_one_module() -> None:
    """Elsewhere `np.random.Generator` is a type."""
    makers = {
        module
        for module, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("np.random.", "numpy.random."))
    }
    assert makers == {"mlptrain.randomness"}


HEAVY = (
    "numpy",
    "polars",
    "pydantic",
    "matplotlib",
    "safetensors",
    "yaml",
    "filelock",
    "threadpoolctl",
    "torch",
    "jax",
    "sklearn",
)


def loaded(*arguments: str, code: int = 0) -> set[str]:
    """The modules that are loaded at the end of `mlptrain` with these arguments, which must end with exit `code`."""
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: sys.stderr.write('LOADED' + json.dumps(sorted(sys.modules))))\n"
        "from mlptrain.cli import main\n"
        f"sys.argv = ['mlptrain', *{list(arguments)!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert done.returncode == code
    assert done.stdout or code
    return set(json.loads(done.stderr.split("LOADED")[1]))


@pytest.mark.parametrize(
    "line", ["--help", "--version", "fit --help", "evaluate --help", "predict --help", "inspect --help"]
)
def test_help_loads_nothing_heavy(line: str) -> None:
    modules = loaded(*line.split())
    by_typer = {"pydantic"} if " " in line else set()  # Typer itself, to show the options of a verb
    assert {name.split(".")[0] for name in modules} & set(HEAVY) <= by_typer
    ours = {name for name in modules if name.startswith("mlptrain")}
    assert ours == {
        *("mlptrain", "mlptrain.cli", "mlptrain.cli.app", "mlptrain.cli.narrow", "mlptrain.cli.streams"),
        *("mlptrain.errors", "mlptrain.system"),
    }


def heavy(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules} & set(HEAVY)


def test_a_mistake_in_a_spec_loads_nothing_to_read_or_write_with(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("data: {path: t.csv, target: y}\noptimizer: adm\n")
    assert heavy(loaded("fit", str(tmp_path / "s.yaml"), code=2)) == {"numpy", "pydantic", "yaml"}


def test_the_end_of_a_process_looks_for_no_garbage() -> None:
    script = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count()))\n"
        "from mlptrain.cli import main\n"
        "sys.argv = ['mlptrain', '--version']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout.split("frozen")[1]) > 1000


def test_a_run_loads_what_it_uses(tmp_path: Path) -> None:
    used = {"numpy", "pydantic", "yaml", "polars", "safetensors", "filelock", "threadpoolctl"}
    config = ROOT / "configs" / "notebook.yaml"
    modules = loaded("fit", str(config), "--out", str(tmp_path / "run"))
    assert heavy(modules) == used
    assert "numpy.ma" not in modules  # which some functions of NumPy load, to say that an array is not masked


def test_every_config_is_looked_at() -> None:
    found = [path for path in (ROOT / "configs").rglob("*") if path.is_file() and path.suffix in (".yaml", ".yml")]
    assert len(CONFIGS) == len(found) >= 6


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_a_config_is_sound_and_its_data_is_there(path: Path) -> None:
    data = load_experiment(path).data
    files = (
        data.path,
        data.target_path,
        data.validation_path,
        data.validation_target_path,
        data.test_path,
        data.test_target_path,
    )
    for file in filter(None, files):
        assert Path(file).is_file(), file
