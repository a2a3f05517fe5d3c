"""Mutation testing: plant faults in a copy of the library, one at a time, and run its tests.

    python tests/mutate.py --faults 100 --seed 0
    python tests/mutate.py --faults 40 --modules early_exit.statistics,early_exit.policy
    python tests/mutate.py --faults 100 --seed 0 --only 17,31

A place (a line with something to change) is drawn first, then a change: a comparison turned, a
number off by one, an operator or two arguments swapped, a `not` or a statement left out, a
condition that always holds, a loop that ends after its first turn. The unit tests of the module's
own name run first; where they pass, all others that import it, and where those pass, those that
import a module which imports it. Prints a table: found or survived, where, what. The same seed
plants the same faults, as long as the library is the same; `--only` plants some of them again.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of what the same tests take without a fault: more CPU time than this many times is an endless one.
PATIENCE, SECONDS = 4, 60
# Tests of faults that once survived.
PLANTED = "test_planted.py"

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
PAIRS = [
    *(("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("any", "all")),
    *(("floor", "ceil"), ("mean", "sum"), ("zeros", "ones"), ("left", "right")),
]
# Functions that don't depend on the order of their arguments.
ANY_ORDER = {"min", "max", "minimum", "maximum", "isinstance"}
NAMES = {**dict(PAIRS), **{two: one for one, two in PAIRS}}


@dataclass(frozen=True)
class Fault:
    """A change of one piece of a file: bytes ``start`` to ``end`` become ``new``."""

    module: str
    path: Path
    line: int
    start: int
    end: int
    old: str
    new: str

    def planted(self, source: bytes) -> bytes:
        """The source with the fault in it."""
        return source[: self.start] + self.new.encode() + source[self.end :]

    def __str__(self) -> str:
        old, new = (re.sub(r"\s+", " ", text)[:60] for text in (self.old, self.new))
        return f"| {self.path}:{self.line} | `{old}` | `{new}` |".replace("\n", " ")


def changes(node: ast.AST) -> Iterator[ast.AST | str]:
    """Replacements of a node: another node, or text."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS[type(node.ops[0])]:
            yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.BinOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield ast.BinOp(node.left, other(), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from (ast.Constant(value) for value in _other_numbers(node.value))
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)
    elif isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
        yield ast.Name(NAMES[node.id], node.ctx)
    elif isinstance(node, ast.Call):
        yield from _other_calls(node)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    else:
        yield from _other_statements(node)


def _other_numbers(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield from (value * 2, value / 2 if value else 1.0)


def _other_calls(node: ast.Call) -> Iterator[ast.AST]:
    ordered = ast.unparse(node.func).rpartition(".")[2] not in ANY_ORDER
    for place in range(len(node.args) - 1):
        if ordered and not any(isinstance(argument, ast.Starred) for argument in node.args):
            swapped = list(node.args)
            swapped[place : place + 2] = swapped[place + 1], swapped[place]
            yield ast.Call(node.func, swapped, node.keywords)
    for place, keyword in enumerate(node.keywords):
        if keyword.arg and not _is_guard(keyword):
            rest = node.keywords[:place] + node.keywords[place + 1 :]
            yield ast.Call(node.func, node.args, rest)


def _other_statements(node: ast.AST) -> Iterator[ast.AST | str]:
    if isinstance(node, ast.If):
        yield from (ast.If(ast.Constant(held), node.body, node.orelse) for held in (True, False))
    elif isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield "pass"
    elif isinstance(node, ast.For):
        yield ast.For(node.target, node.iter, [*node.body, ast.Break()], node.orelse)
    elif isinstance(node, ast.Return) and node.value is not None:
        if isinstance(node.value, ast.Tuple):
            yield ast.Return(ast.Tuple(node.value.elts[::-1], ast.Load()))
        elif isinstance(node.value, ast.Call) and len(node.value.args) == 1:
            yield ast.Return(node.value.args[0])


def code_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes where a change is a fault: no docstrings, annotations, messages or imports."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_comment", "decorator_list"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr | ast.Import):
                continue
            if isinstance(node, ast.ImportFrom) or _is_text(node) or _is_guard(node):
                continue
            yield node
            # What is raised is a message; that it is raised may be left out.
            if not isinstance(node, ast.Raise):
                yield from code_of(node)


def _is_guard(node: ast.AST) -> bool:
    """Whether it is ``strict=True``, which matters only where something else is wrong."""
    return isinstance(node, ast.keyword) and node.arg == "strict"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def faults_of(module: str, root: Path) -> list[Fault]:
    """Every fault that can be planted in a module."""
    path = path_of(module, root)
    source = (root / path).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in code_of(ast.parse(source)):
        if not hasattr(node, "lineno"):
            continue
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        for new in changes(node):
            found.append(
                Fault(
                    module,
                    path,
                    node.lineno,
                    start,
                    end,
                    source[start:end].decode(),
                    _text(new, node.col_offset),
                )
            )
    return found


def _text(new: ast.AST | str, indent: int) -> str:
    if isinstance(new, str):
        return new
    text = ast.unparse(ast.fix_missing_locations(new))
    if isinstance(new, ast.expr):
        return f"({text})" if not isinstance(new, ast.Constant | ast.Name) else text
    return text.replace("\n", "\n" + " " * indent)


def path_of(module: str, root: Path) -> Path:
    """Path of a module."""
    path = Path("scripts", *module.split("."))
    return path / "__init__.py" if (root / path).is_dir() else path.with_suffix(".py")


def modules_of(root: Path) -> list[str]:
    """All modules of the library."""
    names = []
    for path in sorted((root / "scripts/early_exit").rglob("*.py")):
        parts = path.relative_to(root / "scripts").with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def chosen_modules(asked: str | None, root: Path) -> list[str]:
    """The requested modules, with those in requested packages; all by default."""
    known = modules_of(root)
    if not asked:
        return known
    chosen = [m for m in known for name in asked.split(",") if f"{m}.".startswith(f"{name}.")]
    if not chosen:
        sys.exit(f"error: --modules {asked}: none of them is in scripts/early_exit")
    return list(dict.fromkeys(chosen))


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The modules of the library that a file imports, by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & known


class Tests:
    """Unit tests that cover a module, by their imports."""

    def __init__(self, root: Path) -> None:
        known = set(modules_of(root))
        self.imported = {m: imports_of(root / path_of(m, root), known) for m in known}
        files = sorted((root / "tests/unit").rglob("test_*.py"))
        self.by_file = {str(f.relative_to(root)): imports_of(f, known) for f in files}

    def groups(self, module: str) -> list[list[str]]:
        """Those of the same name; the others that import it; and those that import its users."""
        near = self._importing(module, {module})
        own = [f for f in near if f.endswith((f"test_{module.rpartition('.')[2]}.py", PLANTED))]
        users = {user for user, imported in self.imported.items() if module in imported}
        far = [file for file in self._importing(module, users) if file not in near]
        return [group for group in (own, [f for f in near if f not in own], far) if group]

    def _importing(self, module: str, wanted: set[str]) -> list[str]:
        # Methods of a package are looked up by their names.
        if (parent := module.rpartition(".")[0]) != "early_exit":
            wanted = wanted | {parent}
        return [file for file, imported in self.by_file.items() if imported & wanted]


class Copy:
    """A copy of the tree, in which tests run."""

    def __init__(self, folder: Path) -> None:
        listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
        done = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True)
        for name in filter(None, done.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.folder, self.known = folder, {}

    def run(self, files: list[str], limit: float | None = None) -> tuple[bool, str, float]:
        """Whether tests pass, the first failing one, and their CPU time."""
        options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shutil.rmtree(self.folder / ".hypothesis", ignore_errors=True)

        def limited() -> None:
            if limit:
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))

        try:
            done = subprocess.run(
                [sys.executable, "-B", "-m", "pytest", *options, *files],
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
                capture_output=True,
                text=True,
                preexec_fn=limited,
                # CPU time, so that a busy machine does not count.
                timeout=limit and 10 * limit,
            )
        except subprocess.TimeoutExpired:
            return False, "no end", 0.0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        failed = re.search(
            r"^(?:FAILED|ERROR) (?:tests/unit/(?:\w+/)?)?(\S+)", done.stdout, re.MULTILINE
        )
        by = failed[1] if failed else f"no result ({done.returncode})"
        return done.returncode in (0, 5), "" if done.returncode in (0, 5) else by, took

    def limit(self, files: list[str]) -> float:
        """CPU time limit of the same tests with a fault."""
        key = tuple(files)
        if key not in self.known:
            passed, by, took = self.run(files)
            if not passed:
                sys.exit(f"error: without any fault {by} fails; mend that first")
            self.known[key] = PATIENCE * took + SECONDS
        return self.known[key]

    def finds(self, fault: Fault, tests: Tests) -> str:
        """The test that finds a fault, or None."""
        path = self.folder / fault.path
        whole = path.read_bytes()
        for files in tests.groups(fault.module):
            limit = self.limit(files)
            path.write_bytes(fault.planted(whole))
            try:
                passed, by, _ = self.run(files, limit)
            finally:
                path.write_bytes(whole)
            if not passed:
                return by
        return ""


def drawn(modules: list[str], count: int, seed: int) -> list[Fault]:
    """A sample of faults, drawn by line, so that long expressions are not more likely."""
    lines: dict[tuple[str, int], list[Fault]] = {}
    for module in modules:
        for fault in faults_of(module, ROOT):
            lines.setdefault((module, fault.line), []).append(fault)
    chance = random.Random(seed)
    places = sorted(lines)
    chosen = chance.sample(places, min(count, len(places)))
    return [chance.choice(lines[place]) for place in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", help="names, with commas; a package stands for all in it")
    parser.add_argument("--only", help="numbers of the table, with commas")
    parser.add_argument("--list", action="store_true", help="print the faults, run nothing")
    options = parser.parse_args()
    faults = list(
        enumerate(drawn(chosen_modules(options.modules, ROOT), options.faults, options.seed))
    )
    if options.only:
        faults = [faults[int(number)] for number in options.only.split(",")]
    print("| n | | place | was | is | by |\n" + "|---" * 6 + "|", flush=True)
    found, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy, tests = (None, None) if options.list else (Copy(Path(folder)), Tests(ROOT))
        for number, fault in faults:
            by = "" if options.list else copy.finds(fault, tests)
            found += bool(by)
            word = "" if options.list else "found" if by else "**survived**"
            print(f"| {number} | {word} {fault} {by} |", flush=True)
    if not options.list:
        minutes = (time.monotonic() - began) / 60
        print(f"\n{found} of {len(faults)} found, in {minutes:.0f} minutes")


if __name__ == "__main__":
    main()
