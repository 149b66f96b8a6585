"""The rules of the house, where a machine can see them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*sorted((ROOT / "src").rglob("*.py")), ROOT / "train.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 50
FORBIDDEN = ("weights_only=False", "allow_pickle=True", "shell=True")
# Parts of a config are handed to whatever class it names, so their names are open.
OPEN_KEYWORDS = {("build.py", "build"), ("boundary.py", "ask")}


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


every_source = pytest.mark.parametrize("file", [*SOURCES, *SCRIPTS], ids=name)
every_file = pytest.mark.parametrize("file", [*SOURCES, *SCRIPTS, *TESTS], ids=name)


def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@every_file
def test_a_file_is_short_and_ascii(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert text.isascii(), "write other characters as escapes"


def num_body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of what a function does: without its signature and its docstring."""
    start = 1 if ast.get_docstring(function) is not None and len(function.body) > 1 else 0
    return (function.end_lineno or 0) - function.body[start].lineno + 1


@every_source
def test_a_function_is_short(file: Path) -> None:
    lengths = {function.name: num_body_lines(function) for function in functions(file)}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


@every_source
def test_a_file_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@every_source
def test_arguments_have_names(file: Path) -> None:
    open_ones = {f.name for f in functions(file) if f.args.kwarg is not None}
    allowed = {function for owner, function in OPEN_KEYWORDS if owner == file.name}
    assert not open_ones - allowed


@every_source
def test_nothing_runs_code_from_data(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        assert not call.startswith(("eval(", "exec(", "pickle.load", "os.system(")), call
        assert not any(word in call for word in FORBIDDEN), call


@every_source
def test_files_are_nouns(file: Path) -> None:
    assert file.stem not in ("utils", "util", "helpers", "misc", "common")


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_only_commands_print(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    prints = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]
    assert not prints or "commands" in file.parts


def test_test_files_have_names_of_their_own() -> None:
    names = [file.name for file in TESTS if file.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
    assert not [file for file in TESTS if file.name == "__init__.py"]


def test_yaml_is_ascii() -> None:
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert file.read_text(encoding="utf-8").isascii(), file
