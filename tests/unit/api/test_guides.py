"""The Python code in the docs' guides runs as printed."""

import re
from pathlib import Path

import pytest
from matplotlib import pyplot

from api_runs import write_run

GUIDES = Path(__file__).parents[3] / "docs" / "guides"


def blocks(name):
    """The Python blocks of a guide, in order."""
    text = (GUIDES / f"{name}.md").read_text()
    found = re.findall(r"^( *)```python\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


@pytest.mark.parametrize(
    ("name", "printed"), [("logits", "certified: drop"), ("network", "4 exits")]
)
def test_a_guide_runs(name, printed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "guide"}
    for code in blocks(name):
        exec(compile(code, name, "exec"), names)
    assert printed in capsys.readouterr().out
    pyplot.close("all")


def test_the_example_of_a_method_keeps_its_targets(run):
    """The method of the guide, which is a file there."""
    from early_exit.calibration.targets import Target

    names = {}
    exec(compile(blocks("method")[0], "method", "exec"), names)
    samples, costs = samples_of(run)
    budget, drop = Target("macs_share", 0.5), Target("drop", 0.02)
    rows = names["thresholds"](samples, costs, [budget, drop])
    assert rows.shape == (2, 2)
    spent, lost = (run.simulate(run.make_policy(row.tolist()), "calibration") for row in rows)
    assert 0 < spent.macs <= 0.5 * spent.full.macs
    assert lost.accuracy >= lost.full.accuracy - 0.02
    assert lost.macs < lost.full.macs


def samples_of(run):
    from early_exit.policy.samples import Samples

    samples = Samples.of(run._records("calibration"), run._criterion)
    return samples, run._source.costs.in_unit("macs")


def test_the_guide_to_images_opens_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results" / "mine")
    exec(blocks("images")[0], {})
    assert "300 test samples" in capsys.readouterr().out


def test_the_guide_to_deployment_runs_a_policy(tmp_path, monkeypatch):
    from helpers import SmallNetwork, random_images

    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results" / "X")
    names = {"network": SmallNetwork(), "images": random_images(5)}
    exec(blocks("deploy")[0], names)
    assert len(names["prediction"]) == len(names["exits"]) == 5


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_guides_are_short(guide):
    assert len(guide.read_text().split()) < 600
