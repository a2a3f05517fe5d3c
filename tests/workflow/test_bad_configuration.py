"""Configurations that Snakemake would hang on, or print a traceback of: one line, and soon."""

import pytest

from conftest import Project

pytestmark = pytest.mark.thorough

LAUGHS = "x0: &x0 [lol, lol]\n" + "".join(
    f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 90)
)


def only_line(project: Project, *arguments: str) -> str:
    """What a plan says, which must be one error."""
    finished = project.run("-n", *arguments)
    shown = finished.stdout + finished.stderr
    assert finished.returncode == 1, shown
    assert "Traceback" not in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"run: small\nexperiments:\n  small: {description: &x [*x]}\n",
            "line 3: this anchor contains itself",
        ),
        (b"run: small\nexperiments: &a\n  <<: *a\n", "line 2: this anchor contains itself"),
        (LAUGHS.encode(), "line 16: expands to more than 100,000 values"),
        ("experiments:\n  small: {description: é}\n".encode("latin-1"), "line 2: the byte 0xe9"),
        ("experiments: {}\n".encode("utf-16"), "is UTF-16 or UTF-32"),
        (b"experiments: " + b"[" * 5000, "line 1: more than 30 levels of nested"),
        (b"run: " + b"9" * 5000, "line 1: a number of 5,000 characters"),
        (
            b"run: small\nexperiments:\n  small: {\n",
            "line 4: not valid YAML (while parsing a flow node",
        ),
        (b"", "must be a map, with the key experiments"),
    ],
)
def test_a_file_that_cannot_be_parsed(project, content, message):
    (project.folder / "config.yaml").write_bytes(content)
    assert only_line(project).startswith(f"error: config.yaml: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--configfile", "more.yaml"], "error: more.yaml: line 3: this anchor contains its"),
        (["--config", "run={a: 1}"], "error: config: run: "),
        (["--config", "run=small@01"], "error: config: run: unknown experiment 'small@01'"),
        (["--config", "run=small@٣"], "error: config: run: unknown experiment 'small@٣'"),
        (["--config", f"run={'x' * 300}"], "error: config: run: unknown experiment 'xxx"),
        (
            ["--config", "experiments={small: {exits: {shards: 100000000}}}"],
            "error: config: experiments.small.exits.shards: '100000000', but must be a whole number"
            " (a string: remove the quotes; in a map given to --config every value is a string, so",
        ),
    ],
)
def test_invalid_options_of_the_command_line(project, arguments, message):
    (project.folder / "more.yaml").write_text("experiments:\n  small:\n    description: &x [*x]\n")
    assert only_line(project, *arguments).startswith(message)


def test_a_replicate_under_another_spelling(project):
    """It would be trained a second time, in a folder of its own."""
    finished = project.run("-n", "results/small@01/summary.json")
    assert finished.returncode == 1
    assert "MissingRuleException" in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
