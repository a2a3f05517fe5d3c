"""The explorer in a real browser: its numbers, its controls, and that it harms nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from early_exit.cli.experiment import read_experiment
from early_exit.explorer.assemble import assembled
from early_exit.explorer.data import rows_kept
from early_exit.explorer.page import Content
from early_exit.policy.costs import costs_from_table
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.external_costs import costs_of_exits
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy
from early_exit.policy.units import cost_words
from early_exit.records.table import from_external
from early_exit.statistics.intervals import wilson_interval
from explored import MEASURES, NASTY, some_content

pytestmark = pytest.mark.browser

SETTINGS = 200


@pytest.fixture(scope="module")
def content():
    return some_content()


def rounded(number: float, digits: int = 2) -> str:
    """A number as JavaScript rounds it: halves away from zero."""
    return str(Decimal(number).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def until(page, condition: str) -> None:
    """Wait for a condition; Playwright's own way evaluates text, which the page forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never: {condition}")


def thresholds_of(page) -> list[float]:
    """The current thresholds in the unit of the measure, as the page has them."""
    return page.evaluate("explorer.state.thresholds.map(String)")


# Sliders, buttons, fields, measure and batch size are set at random, as a user would; after each
# setting what is shown is read.
RANDOM = """
([settings, seed, exact]) => {
  let state = seed;
  const random = () => (state = (state * 1664525 + 1013904223) % 4294967296) / 4294967296;
  const fire = (node, kind) => node.dispatchEvent(new Event(kind, {bubbles: true}));
  const choose = (id) => {
    const node = document.getElementById(id);
    node.selectedIndex = Math.floor(random() * node.options.length);
    fire(node, "change");
  };
  const found = [];
  for (let n = 0; n < settings; n++) {
    for (const [k, exit] of [...document.querySelectorAll(".exit")].entries()) {
      const kind = random(), slider = exit.querySelector("[type=range]");
      const [never, always] = exit.querySelectorAll("button");
      const number = exit.querySelector("[type=text]");
      if (kind < 0.1) never.click();
      else if (kind < 0.2) always.click();
      else if (kind < 0.3) { number.value = (random() * 1.5).toFixed(3); fire(number, "change"); }
      else if (kind < 0.45) {
        const values = exact[explorer.state.measure][k];
        number.value = values[Math.floor(random() * values.length)];
        fire(number, "change");
      }
      else { slider.value = Math.floor(random() * 401); fire(slider, "input"); }
    }
    if (random() < 0.1) {
      const all = document.getElementById("all");
      all.value = Math.floor(random() * 401);
      fire(all, "input");
    }
    if (random() < 0.2) choose("measure");
    if (random() < 0.3) choose("batch");
    explorer.show();
    const rows = [...document.querySelectorAll("#exit-table tbody tr")];
    const point = explorer.point(explorer.state), test = explorer.point(explorer.state, "test");
    const {exited, correct, macs, ms, interval} = point;
    found.push({
      measure: explorer.state.measure, batch: explorer.state.batch,
      thresholds: explorer.state.thresholds.map(String), exited, correct, macs, ms, interval,
      test: test.correct, headline: document.getElementById("headline").textContent,
      shares: rows.map((row) => row.cells[3].textContent),
    });
  }
  return found;
}
"""


@pytest.mark.parametrize("rule", ["below", "above"])
def test_the_numbers_are_those_of_simulate(rule, opened, content):
    """200 random settings of the controls: accuracy, cost and exit shares, to the last digit."""
    content = content if rule == "below" else some_content(rule="above")
    page = opened(content)
    sign = 1 if rule == "below" else -1
    records, seen = content.splits["calibration"], set()
    # Thresholds that are a sample's uncertainty: it does not exit.
    ties = [own.uncertainty(records)[:40, :-1].T.tolist() for own in content.criteria]
    for found in page.evaluate(RANDOM, [SETTINGS, 7, ties]):
        turned = [float(t.replace("Infinity", "inf")) for t in found["thresholds"]]
        policy = Policy(content.criteria[found["measure"]], tuple(sign * t for t in turned))
        costs = replace(content.costs, batch_size=found["batch"])
        point = simulate(policy, records, costs)
        exited = np.rint(point.exit_shares * point.samples).astype(int).tolist()
        assert (found["exited"], found["correct"]) == (exited, point.correct)
        assert found["macs"] == pytest.approx(point.macs, rel=1e-13)
        assert found["ms"] == pytest.approx(point.ms, rel=1e-12)
        interval = wilson_interval(point.correct, point.samples)
        assert found["interval"] == pytest.approx(interval, abs=1e-12)
        assert found["test"] == simulate(policy, content.splits["test"], costs).correct
        # As shown.
        headline = found["headline"].replace("\u00a0", " ")
        assert headline.startswith(f"{rounded(100 * point.accuracy)} % accurate")
        assert f" at {cost_words(point.macs)} " in headline
        assert f"{float(f'{point.ms:.3g}'):g} ms a sample" in headline
        shares = [f"{rounded(100 * share, 1)} %" for share in point.exit_shares]
        assert found["shares"] == shares
        seen.add((found["measure"], found["batch"]))
    assert len(seen) > 8


def test_names_stay_text(opened, content):
    page = opened(content)
    assert page.locator("h1").text_content() == NASTY[0]
    assert page.title().startswith(NASTY[0])
    assert page.locator("img").count() == 0
    assert {*NASTY} == {*page.locator("#classes tbody th").all_text_contents()}
    labels = page.locator(".thumb").evaluate_all("all => all.map(one => one.title)")
    assert any(NASTY[0] in label for label in labels)


def test_a_drag_of_many_samples_keeps_up(opened):
    """10,000 samples at 10 exits: a change is computed and drawn in under 50 ms."""
    content = some_content(10_000, 10)
    page = opened(content)
    size = len(page.content().encode())
    assert size < 3_000_000
    times = page.evaluate(
        """async () => {
          const times = [];
          for (let n = 0; n < 40; n++) {
            explorer.state.thresholds[n % 9] = 0.02 + 0.02 * n;
            const start = performance.now();
            explorer.show();
            // uPlot draws in a microtask.
            await null; await null; await null;
            times.push(performance.now() - start);
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    assert times[len(times) // 2] < 50, times


def test_a_threshold_is_dragged_in_its_histogram(opened, content):
    page = opened(content)
    over = page.locator(".exit .u-over").first
    box = over.bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20, steps=8)
    until(page, "explorer.state.thresholds[0] > 0.5")
    half = float(thresholds_of(page)[0])
    # Half of the range of the chosen policy's measure, entropy.
    assert half == pytest.approx(np.log(4) / 2, rel=0.05)
    page.mouse.move(box["x"] + box["width"] + 30, box["y"] + 20)
    page.mouse.up()
    until(page, "explorer.state.thresholds[0] === Infinity")
    pressed = page.get_by_role("button", name="Exit 1: always", exact=True)
    assert pressed.get_attribute("aria-pressed") == "true"


def test_what_is_being_typed_stays_and_what_is_no_threshold_is_marked(opened, content):
    page = opened(content)
    field, before = page.locator(".exit input[type=text]").first, thresholds_of(page)
    field.fill("0.12")
    page.evaluate("explorer.show()")
    assert field.input_value() == "0.12"
    assert thresholds_of(page) == before
    field.press("Enter")
    until(page, "explorer.state.thresholds[0] === 0.12")
    field.fill("often")
    field.press("Enter")
    assert field.get_attribute("aria-invalid") == "true"
    page.evaluate("explorer.show()")
    assert field.input_value() == "often"
    assert thresholds_of(page)[0] == "0.12"
    # Left as it is, the threshold in use is shown again.
    page.keyboard.press("Tab")
    until(page, "document.querySelector('.exit input[type=text]').value === '0.12'")
    assert field.get_attribute("aria-invalid") == "false"


def test_the_keyboard_suffices(opened, content):
    page = opened(content)
    before = thresholds_of(page)
    page.locator(".exit input[type=range]").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    until(page, f"String(explorer.state.thresholds[0]) !== '{before[0]}'")
    page.keyboard.press("Home")
    until(page, "explorer.state.thresholds[0] === -Infinity")
    # Every control is reached by the tabulator, and then the first one again. How many stops are in
    # between depends on the fonts: what scrolls is a stop, too.
    page.locator("#goal-kind").focus()
    reached = []
    for _ in range(500):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "goal-kind":
            break
    assert {"goal-value", "load", "measure", "unit", "batch", "all", "pin", "goal-kind"} <= {
        *reached
    }
    assert {"png", "exits-csv", "compare-csv", "classes-csv", "file", "test"} <= {*reached}


@pytest.mark.parametrize(
    ("kind", "value", "holds"),
    [
        ("accuracy", 70, lambda p, full: p.accuracy >= 0.7),
        ("drop", 2, lambda p, full: p.accuracy >= full.accuracy - 0.02),
        ("share", 60, lambda p, full: p.macs <= 0.6 * full.macs),
    ],
)
def test_a_goal_loads_a_calibrated_policy(kind, value, holds, opened, content):
    page = opened(content)
    page.select_option("#goal-kind", kind)
    page.fill("#goal-value", str(value))
    page.click("#goal button")
    until(page, "document.getElementById('goal-answer').textContent !== ''")
    policy = current_policy(page, content)
    records = content.splits["calibration"]
    point, full = (simulate(own, records, content.costs) for own in (policy, policy.full_network))
    assert holds(point, full)
    assert "of" in page.locator("#goal-answer").text_content()


def current_policy(page, content) -> Policy:
    measure = content.criteria[page.evaluate("explorer.state.measure")]
    turned = [float(t.replace("Infinity", "inf")) for t in thresholds_of(page)]
    return Policy(measure, tuple(measure.rule.sign * t for t in turned))


def test_a_goal_that_nothing_meets_says_so(opened, content):
    page = opened(content)
    before = thresholds_of(page)
    page.fill("#goal-value", "100")
    page.click("#goal button")
    assert "None: the most accurate has" in page.locator("#goal-answer").text_content()
    assert thresholds_of(page) == before


def test_a_click_on_a_mark_loads_its_policy(opened, content):
    page = opened(content)
    page.select_option("#load", "full")
    until(page, "explorer.state.thresholds.every((t) => t === -Infinity)")
    # The mark of the first exit, at the left end of the chart.
    box = page.locator("#chart .u-over").bounding_box()
    found = page.evaluate(
        """() => {
          const node = document.querySelector("#chart .u-over");
          const {width, height} = node.getBoundingClientRect();
          for (let x = 2; x < width; x += 4)
            for (let y = 2; y < height; y += 4) {
              const event = new MouseEvent("mousemove", {bubbles: true});
              Object.defineProperty(event, "offsetX", {value: x});
              Object.defineProperty(event, "offsetY", {value: y});
              node.dispatchEvent(event);
              const tip = document.getElementById("tip");
              if (!tip.hidden && tip.textContent.startsWith("every sample exits at exit 1"))
                return [x, y];
            }
          return null;
        }"""
    )
    assert found, "the mark of exit 1 is not found"
    page.mouse.click(box["x"] + found[0], box["y"] + found[1])
    until(page, "explorer.state.thresholds[0] === Infinity")


RANGES = "['x', 'y'].map((axis) => [explorer.scales[axis].min, explorer.scales[axis].max])"


def test_the_axes_stay_while_a_threshold_moves_and_zoom_when_asked(opened, content):
    page = opened(content)
    before = page.evaluate(RANGES)
    page.evaluate(
        """async () => {
          for (let n = 0; n < 30; n++) {
            explorer.state.thresholds[0] = n / 20;
            explorer.show();
            await new Promise(requestAnimationFrame);
          }
        }"""
    )
    assert page.evaluate(RANGES) == before
    full = simulate(current_policy(page, content).full_network, content.splits["calibration"],
                    content.costs)  # fmt: skip
    (low, high), (least, most) = before
    assert low < full.macs / 1e6 < high
    assert least < 100 * full.accuracy < most
    box = page.locator("#chart .u-over").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200, steps=4)
    page.mouse.up()
    zoomed = page.evaluate(RANGES)
    assert zoomed[0][0] > low and zoomed[0][1] < high
    page.evaluate("explorer.show()")
    page.wait_for_timeout(100)
    assert page.evaluate(RANGES) == zoomed
    page.mouse.dblclick(box["x"] + 20, box["y"] + 20)
    until(page, f"JSON.stringify({RANGES}) === JSON.stringify({before})")


def test_the_address_holds_the_setting_and_a(opened, content):
    page = opened(content)
    page.get_by_role("button", name="Exit 2: never", exact=True).click()
    page.locator("#pin").click()
    page.get_by_role("button", name="Exit 1: always", exact=True).click()
    page.select_option("#unit", "ms")
    page.select_option("#batch", "128")
    until(page, "location.hash.includes('always') && location.hash.includes('128')")
    address, now = page.evaluate("location.hash"), thresholds_of(page)
    # Where the address does not fit, the page starts as usual.
    other = opened(content, address)
    assert thresholds_of(other) == now
    assert other.evaluate("[explorer.state.unit, explorer.state.batch]") == ["ms", 128]
    pinned = other.evaluate("explorer.state.pinned.thresholds.map(String)")
    assert pinned[1] == "-Infinity"
    assert pinned[0] != "Infinity"
    assert "A" in other.locator("#compare thead").text_content()
    assert "Current against A" in other.locator("#compare-note").text_content()
    wrong = opened(content, "#p=margin:1,2&unit=parsecs&batch=0&A=nonsense")
    assert thresholds_of(wrong) == thresholds_of(opened(content))


def test_the_policy_file_is_what_predict_takes(opened, content, tmp_path):
    page = opened(content)
    page.get_by_role("button", name="Exit 2: never", exact=True).click()
    page.locator(".exit input[type=text]").first.fill("1e-7")
    page.keyboard.press("Tab")
    with page.expect_download() as waiting:
        page.locator("#file").click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    policy = current_policy(page, content)
    assert Policy.load(file) == policy
    # Also checks the checksum.
    read = read_experiment(str(file)).content
    point = simulate(policy, content.splits["calibration"], content.costs)
    assert read["calibration"]["accuracy"] == point.accuracy
    assert read["calibration"]["exit_shares"] == point.exit_shares.tolist()
    assert read["calibration"]["macs"] == pytest.approx(point.macs, rel=1e-13)
    assert read["cost"]["macs"] == content.costs.macs(policy.heads_run).tolist()
    assert read["criterion"]["thresholds"] == [1e-7, "never", policy.thresholds[2]]
    assert read["why"].startswith("thresholds of the user, taken as they are")


def test_without_provenance_the_file_is_one_of_policy_save(opened, content, tmp_path):
    page = opened(replace(content, policy_text="", folder=""))
    assert page.locator("#command-part").is_hidden()
    with page.expect_download() as waiting:
        page.locator("#file").click()
    waiting.value.save_as(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == current_policy(page, content)


def test_the_lines_for_the_configuration_are_yaml(opened, content):
    page = opened(content)
    page.locator(".exit input[type=text]").first.fill("1e-7")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Exit 2: never", exact=True).click()
    until(page, "document.getElementById('lines').textContent.includes('never')")
    lines = yaml.safe_load(page.locator("#lines").text_content())
    assert lines["exit_rule"] == "below"
    assert sorted(lines["measure"]) == sorted(MEASURES)
    assert lines["measure"][0] == content.criteria[page.evaluate("explorer.state.measure")].measure
    assert lines["selection"]["criterion"] == "thresholds"
    assert lines["selection"]["thresholds"][:2] == [1e-7, "never"]
    assert "early-exit policy --results results/small" in page.locator("#command").text_content()


def test_tables_and_the_chart_are_saved(opened, content, tmp_path):
    page = opened(content)
    for button, columns in (("exits-csv", 11), ("classes-csv", 7), ("compare-csv", 4)):
        with page.expect_download() as waiting:
            page.locator(f"#{button}").click()
        waiting.value.save_as(tmp_path / "table.csv")
        text = (tmp_path / "table.csv").read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text.replace("\x00", ""))))
        assert {len(row) for row in rows} == {columns}, button
    with page.expect_download() as waiting:
        page.locator("#png").click()
    waiting.value.save_as(tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_the_test_split_is_behind_a_button_and_hides_again(opened, content):
    page = opened(content)
    assert page.locator("#test-table").is_hidden()
    page.locator("#test").click()
    assert page.locator("#test-table").is_visible()
    point = simulate(current_policy(page, content), content.splits["test"], content.costs)
    shown = page.locator("#test-table tbody tr").first.text_content()
    assert f"{rounded(100 * point.accuracy)} %" in shown
    page.get_by_role("button", name="Exit 1: never", exact=True).click()
    page.wait_for_selector("#test-table", state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1000, 1440])
def test_it_fits_and_can_be_read(scheme, width, opened, content):
    page = opened(content, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(ratio >= 4.5 for ratio in page.evaluate(CONTRASTS)), page.evaluate(CONTRASTS)


# Contrast (WCAG 2) of the text colours with the page and the cards.
CONTRASTS = """
() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const box = document.createElement("span");
    box.style.color = style.getPropertyValue(`--${name}`);
    document.body.append(box);
    const rgb = getComputedStyle(box).color.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255);
    box.remove();
    const [r, g, b] = rgb.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const pairs = [["ink", "page"], ["soft", "page"], ["ink", "card"], ["soft", "card"]];
  pairs.push(["alert", "alert-page"], ["good", "card"], ["bad", "card"], ["accent-ink", "accent"]);
  return pairs.map(([a, b]) => ratio(light(a), light(b)));
}
"""


def test_a_subsample_says_so(opened, content, monkeypatch):
    monkeypatch.setattr("early_exit.explorer.data.MOST_BYTES", 3 * 3 * 4 * 500)
    page = opened(replace(content, thumbnails={}))
    kept = len(rows_kept(content.splits, 3)["calibration"])
    assert kept < 600
    assert f"a random {kept} of 600 samples" in page.locator("#basis").text_content()


def uncertain(unsure: np.ndarray, **costs) -> Content:
    """The content of a page of uncertainties alone."""
    table = pd.DataFrame({"exit": np.arange(1, unsure.shape[1] + 1)} | costs)
    rows, machine = costs_of_exits(table, "costs")
    model = costs_from_table(rows, "costs", 1)
    records = from_external(np.arange(len(unsure)), unsure, unsure < 0.4, {"span": (-3.0, 3.0)})
    criteria = [ExitCriterion("external")]
    return assembled("u", {"calibration": records}, model, machine.get("unit", "macs"), criteria)


def test_without_classes_times_or_pictures_nothing_is_missing(opened):
    """External uncertainties with relative costs, and one exit only."""
    rng = np.random.default_rng(0)
    unsure = rng.normal(size=(80, 3))
    page = opened(uncertain(unsure, relative=[0.2, 0.5, 1.0]))
    assert page.locator("#classes-section").is_hidden()
    assert page.locator("#thumbs-section").is_hidden()
    assert page.locator("#test-section").is_hidden()
    assert page.locator("#unit-label").is_hidden()
    assert re.search(r"at cost\s0\.", page.locator("#headline").text_content())
    assert "nan" not in page.locator("body").inner_text().lower().split()
    page = opened(uncertain(unsure[:, :1], ms=[2.0]))
    assert "2 ms" in page.locator("#headline").text_content().replace("\u00a0", " ")
    assert json.loads(page.evaluate("JSON.stringify(explorer.state.thresholds)")) == []
