"""Check the text of a configuration file before anything parses it.

Some valid YAML hangs parsers or ends in a traceback: a list that contains itself, aliases that
expand to a billion values, numbers of thousands of digits. Here each is a one-line error with its
line number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from early_exit.errors import InputError, plain, reason_of

# Bytes of a file; the project's own has ten thousand.
LONGEST = 500_000
# Nesting depth; and values in all, with aliases expanded.
DEEPEST, MOST = 30, 100_000
# Characters of a number, or of a date.
NUMBER = 100
PREFIX = "tag:yaml.org,2002:"
NUMBERS = {f"{PREFIX}int", f"{PREFIX}float"}
MERGE = f"{PREFIX}merge"
KNOWN = {
    f"{PREFIX}{name}" for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str")
}


def read_configuration(path: Path) -> str:
    """Text of a configuration file, line endings unchanged.

    Raises
    ------
    InputError
        If it cannot be read, or as :func:`checked_text`.
    """
    name = plain(path.name)
    if path.exists() and not path.is_file():
        raise InputError(f"{name}: not a regular file", "move it away")
    try:
        with open(path, "rb") as file:
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error
    return checked_text(content, name)


def checked_text(content: bytes, name: str) -> str:
    """Text of a configuration in YAML or JSON, after checking that it parses quickly.

    Raises
    ------
    InputError
        With the line, if it is not UTF-8 or not YAML, has duplicate keys, recursive or oversized
        aliases, tags or dates.
    """
    if len(content) > LONGEST:
        raise InputError(f"{name}: not a configuration: it has more than {LONGEST:,} bytes")
    text = _decoded(content, name)
    if text.lstrip()[:1] == "{" and _is_json(text, name):
        return text
    try:
        _parse(text, name)
    except _Refused as error:
        raise InputError(f"{name}: {error}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise InputError(f"{name}: line {line}: {what}", "remove it") from error
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{name}: {_of_yaml(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: not valid YAML ({reason_of(error)})") from error
    return text


def _parse(text: str, name: str) -> None:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{name}: must be a map, with the key experiments")
        _Measured(loader, name).check(root)
        # Finds the remaining errors: a merge of something other than a map, a wrong tag.
        loader.construct_document(root)
    finally:
        loader.dispose()


def _decoded(content: bytes, name: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
        raise InputError(f"{name}: is UTF-16 or UTF-32", "save it as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}: line {line}: the byte 0x{content[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        ) from error


def _is_json(text: str, name: str) -> bool:
    """Whether the text is JSON, which Snakemake tries first and tabs may indent."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise InputError(f"{name}: the key {_short(key)} appears twice", "remove one")
            seen.add(key)
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=unique)
    except RecursionError as error:
        raise InputError(f"{name}: more than {DEEPEST} levels of nested maps and lists") from error
    except ValueError:
        # YAML may begin with a brace too.
        return False
    return True


def _of_yaml(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    words = ", ".join(word for word in (error.context, error.problem) if word)
    hint = "; indent with spaces, not tabs" if "'\\t'" in words else ""
    where = f"line {mark.line + 1}: " if mark else ""
    return f"{where}not valid YAML ({plain(words)}){hint}"


def _short(text: str) -> str:
    return repr(text if len(text) <= NUMBER else f"{text[:NUMBER]}...")


class _Refused(Exception):
    """An error in a node, with its line."""

    def __init__(self, mark: yaml.Mark, what: str) -> None:
        super().__init__(f"line {mark.line + 1}: {what}")


class _Loader(yaml.SafeLoader):
    """Loader that stops at nesting too deep for recursion."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise _Refused(mark, f"more than {DEEPEST} levels of nested maps and lists")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Measured:
    """Count values and depth with aliases expanded, visiting each node once."""

    def __init__(self, loader: _Loader, name: str) -> None:
        self.loader = loader
        self.name = name
        # Values and depth of finished nodes; nodes whose content is being visited.
        self.done: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()

    def check(self, node: yaml.Node) -> tuple[int, int]:
        """Number of values in a node and their depth, aliases expanded."""
        if id(node) in self.done:
            return self.done[id(node)]
        if id(node) in self.open:
            raise _Refused(node.start_mark, "this anchor contains itself; write it out")
        self.open.add(id(node))
        if node.tag not in KNOWN:
            self._refuse_tag(node)
        if isinstance(node, yaml.ScalarNode) and node.tag != MERGE:
            self._scalar(node)
        if isinstance(node, yaml.MappingNode):
            self._keys(node)
        inner = [self.check(one) for one in _inner(node)]
        values = 1 + sum(size for size, _ in inner)
        depth = 1 + max((deep for _, deep in inner), default=0)
        if values > MOST:
            raise _Refused(node.start_mark, f"expands to more than {MOST:,} values")
        if depth > DEEPEST:
            raise _Refused(node.start_mark, f"more than {DEEPEST} levels of nested maps and lists")
        self.done[id(node)] = (values, depth)
        return values, depth

    def _refuse_tag(self, node: yaml.Node) -> None:
        tag = node.tag.removeprefix(PREFIX)
        if tag == "timestamp":
            raise _Refused(
                node.start_mark, f"YAML reads {_short(node.value)} as a date: put it in quotes"
            )
        if tag == "value":
            raise _Refused(node.start_mark, "a single =: put it in quotes")
        raise _Refused(node.start_mark, f"the tag {_short('!!' + tag)} is not allowed; remove it")

    def _scalar(self, node: yaml.ScalarNode) -> None:
        if node.tag in NUMBERS and len(node.value) > NUMBER:
            raise _Refused(node.start_mark, f"a number of {len(node.value):,} characters")
        try:
            self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError, OverflowError) as error:
            kind = node.tag.removeprefix(PREFIX)
            raise _Refused(
                node.start_mark, f"{_short(node.value)} is not a valid {kind}"
            ) from error

    def _keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(key.start_mark, "a list or a map cannot be a key: keys are strings")
            if key.value == "__use_yte__":
                raise _Refused(
                    key.start_mark, "__use_yte__ would run code in the configuration; remove it"
                )
            if key.value in seen:
                raise InputError(
                    f"{self.name}: the key {_short(key.value)} appears twice, in lines"
                    f" {seen[key.value]} and {line}",
                    "move what is under the second to the first",
                )
            seen[key.value] = line


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
