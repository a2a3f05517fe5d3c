"""Text, HTML and plots of the API's objects."""

import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import early_exit as ee


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


def shown(run):
    policy = run.calibrate("certified_path", drop=0.05)
    return {
        "run": run,
        "policy": policy,
        "simulation": run.simulate(policy, "test"),
        "sweep": run.sweep("test", points=5),
        "exits": run.exit_accuracy("test"),
        "frontier": run.frontier(["uniform"], points=3),
    }


EXPECTED = {
    "run": ["500 calibration, 300 test", "2.00 M MACs", "55.3 %, 91.3 %, 99.0 %"],
    "policy": ["certified_path for drop 0.05", "certified: drop at most 0.05"],
    "simulation": ["95 % interval", "of 15.00 M MACs per sample", "exit shares"],
    "sweep": ["5 thresholds on 300 test samples", "share_3"],
    "exits": ["accuracy_low", "15000000"],
    "frontier": ["uniform", "macs_share"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_repr_shows_the_main_numbers(run, name):
    text = repr(shown(run)[name])
    for part in EXPECTED[name]:
        assert part in text


@pytest.mark.parametrize("name", EXPECTED)
def test_each_object_has_html(run, name):
    html = shown(run)[name]._repr_html_()
    assert html.count("<table") == html.count("</table>") == 1
    assert html.count("<tr") == html.count("</tr>") > 0


def test_html_is_escaped(run):
    logits = run._records("calibration").logits
    labels = run._records("calibration").label
    names = ["<b>", "b", "c", "d"]
    own = ee.from_logits(logits, labels, macs=[1e6, 2e6, 3e6], class_names=names, name="<i>")
    assert "<b>" not in own._repr_html_()
    assert "<i>" not in own._repr_html_()
    assert "&lt;i&gt;" in own._repr_html_()


@pytest.mark.parametrize("name", ["simulation", "sweep", "exits", "frontier"])
def test_a_plot_is_drawn_on_the_given_axes(run, name):
    figure, (given, other) = pyplot.subplots(1, 2)
    drawn = shown(run)[name].plot(ax=given)
    assert drawn is given
    assert given.has_data() and not other.has_data()
    figure.canvas.draw()


@pytest.mark.parametrize("name", ["simulation", "sweep", "exits", "frontier"])
def test_a_plot_makes_its_own_axes(run, name):
    before = pyplot.rcParams["axes.spines.top"]
    axes = shown(run)[name].plot()
    assert isinstance(axes, Axes)
    assert axes.has_data()
    axes.figure.canvas.draw()
    assert pyplot.rcParams["axes.spines.top"] == before


def test_a_sweep_against_the_threshold(run):
    sweep = run.using(measure="entropy").sweep("test", points=5)
    axes = sweep.plot(x="threshold")
    line = axes.lines[0]
    assert line.get_xdata().tolist() == sweep.table.threshold.tolist()
    assert line.get_ydata().tolist() == pytest.approx((100 * sweep.table.accuracy).tolist())
    assert "nats" in axes.get_xlabel()


def test_a_sweep_against_cost(run):
    sweep = run.sweep("test", points=5)
    axes = sweep.plot()
    assert axes.lines[0].get_xdata().tolist() == pytest.approx((sweep.table.macs / 1e6).tolist())
    assert axes.lines[1].get_xdata().tolist() == [15.0]
    assert "MACs" in axes.get_xlabel()


def test_a_bar_of_shares_adds_up_to_100_percent(run):
    simulation = run.simulate(run.make_policy(0.5), "test")
    axes = simulation.plot()
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx((100 * simulation.exit_shares).tolist())
