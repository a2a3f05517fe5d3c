// Accuracy against cost: the marks of the chart, its legend and tips, and the list of policies.
"use strict";

const Overview = (app) => {
  const { $, el, fill } = Dom;
  const { data, state, LAST, RELATIVE, policies, chosen, cost, same } = app;

  const costWords = (point) =>
    state.unit === "macs" ? Text.macs(point.macs, data.costs.unit) : Text.ms(point.ms);
  let chart = null;

  const scale = () =>
    state.unit === "ms"
      ? [1, "time per sample (ms, predicted)"]
      : RELATIVE
        ? [1, "relative cost per sample"]
        : (([size, letter]) => [size, `MACs per sample${letter ? ` (${letter.trim()})` : ""}`])(
            Text.prefix(app.fixed.full.macs),
          );
  let size = 1;
  const at = (point) => ({
    x: cost(point) / size,
    y: 100 * point.accuracy,
    low: 100 * point.interval[0],
    high: 100 * point.interval[1],
  });
  function marks() {
    const found = app.points.map((point, n) => ({
      ...at(point),
      kind: policies[n].chosen ? "chosen" : "policy",
      name: policies[n].name,
      point,
      policy: policies[n],
    }));
    app.fixed.exits.slice(0, LAST).forEach((point, k) =>
      found.push({
        ...at(point),
        kind: "exit",
        text: String(k + 1),
        name: `every sample exits at exit ${k + 1}`,
        point,
        policy: point.policy,
      }),
    );
    found.push({
      ...at(app.fixed.full),
      kind: "full",
      name: "the full network",
      point: app.fixed.full,
      policy: app.fixed.full.policy,
    });
    if (app.pinned)
      found.push({
        ...at(app.pinned),
        kind: "pinned",
        name: "policy A",
        point: app.pinned,
        policy: app.pinned.policy,
      });
    if (app.current)
      found.push({
        ...at(app.current),
        kind: "current",
        name: "the current setting",
        point: app.current,
        around: [chosen, state.pinned].some((own) => own && same(own, state)),
      });
    return found;
  }
  function tip(mark, event) {
    const node = $("tip");
    node.hidden = !mark;
    if (!mark) return;
    node.textContent = `${mark.name}\n${Text.percent(mark.point.accuracy)} (${Text.range(mark.point.interval)})\n${costWords(mark.point)}`;
    const wide = node.offsetWidth,
      x = event.clientX + 14;
    node.style.left = `${Math.max(4, x + wide > innerWidth ? event.clientX - wide - 14 : x)}px`;
    node.style.top = `${event.clientY + 14}px`;
  }
  const line = (list) => list.map((point) => [cost(point) / size, 100 * point.accuracy]);
  function draw() {
    offer();
    chart?.u.destroy();
    const [factor, label] = scale();
    size = factor;
    chart = Charts.tradeOff($("chart"), {
      marks,
      front: () => line(app.frontier()),
      sweep: () => line([...app.fixed.sweep].sort((x, y) => cost(x) - cost(y))),
      labels: () => ({ x: label, y: "accuracy on the calibration split (%)" }),
      over: tip,
      click: (mark) => app.load(mark.policy),
    });
    const names = [
      ["current", "current setting"],
      ...(chosen ? [["chosen", "chosen policy"]] : []),
      ...(state.pinned ? [["pinned", "A, pinned", "A"]] : []),
      ["full", "full network"],
    ];
    if (LAST) names.push(["exit", "all at one exit", "1"], ["sweep", "one threshold for all"]);
    if (policies.length) names.push(["policy", "calibrated policy"], ["front", "best of them"]);
    fill(
      $("legend"),
      ...names.map(([kind, text, inside]) => el("li", {}, Charts.sample(kind, inside), text)),
    );
  }
  $("png").addEventListener("click", async () =>
    Text.download("accuracy-against-cost.png", await chart.png(), "image/png"),
  );

  /** The best of the policies, by cost; any other is a mark of the chart. */
  function offer() {
    const best = new Set([...app.frontier(), ...app.points.filter((_, n) => policies[n].chosen)]);
    const words = (point, n) =>
      `${policies[n].chosen ? "★ " : ""}${Text.percent(point.accuracy, 1)}, ${costWords(point)}: ${policies[n].name}`;
    const rows = app.points
      .map((point, n) => [point, n])
      .filter(([point]) => best.has(point))
      .sort(([x], [y]) => cost(x) - cost(y));
    fill(
      $("load"),
      el("option", { value: "" }, "a policy …"),
      ...rows.map(([point, n]) => el("option", { value: n }, words(point, n))),
      el("option", { value: "full" }, "the full network"),
    );
  }

  return {
    draw,
    update: () => chart.update(),
    resize: () => chart?.resize(),
    scales: () => chart.u.scales,
  };
};
