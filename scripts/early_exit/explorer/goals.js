// Goals, such as an accuracy of at least A %: each loads a calibrated policy.
"use strict";

const Goals = (app) => {
  const { $ } = Dom;
  const { policies, cost } = app;

  const GOALS = {
    accuracy: { unit: "%", start: () => (100 * (app.fixed.full.accuracy - 0.005)).toFixed(1) },
    drop: { unit: "points", start: () => "1" },
    share: { unit: "%", start: () => "50" },
  };
  function goalKind() {
    const goal = GOALS[$("goal-kind").value];
    $("goal-unit").textContent = goal.unit;
    $("goal-value").value = goal.start();
    $("goal-answer").textContent = "";
  }
  $("goal-kind").addEventListener("change", goalKind);
  $("goal").addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = $("goal-kind").value,
      value = Number($("goal-value").value) / 100;
    if (!$("goal-value").value || !Number.isFinite(value)) return;
    const all = [
      ...app.points.map((point, n) => [point, policies[n].name]),
      [app.fixed.full, "the full network"],
    ];
    const base = app.fixed.full;
    const fits = {
      accuracy: (p) => p.accuracy >= value - 1e-12,
      drop: (p) => p.accuracy >= base.accuracy - value - 1e-12,
      share: (p) => cost(p) <= cost(base) * value * (1 + 1e-12),
    }[kind];
    const found = all.filter(([p]) => fits(p));
    if (!found.length) {
      const best =
        kind === "share"
          ? Math.min(...all.map(([p]) => cost(p))) / cost(base)
          : Math.max(...all.map(([p]) => p.accuracy));
      $("goal-answer").textContent =
        kind === "share"
          ? `None: the cheapest has ${Text.percent(best, 1)} of the cost.`
          : `None: the most accurate has ${Text.percent(best)}.`;
      return;
    }
    const order =
      kind === "share"
        ? ([x], [y]) => y.accuracy - x.accuracy || cost(x) - cost(y)
        : ([x], [y]) => cost(x) - cost(y) || y.accuracy - x.accuracy;
    const [point, name] = found.sort(order)[0];
    app.load(point.policy);
    const best = kind === "share" ? "the most accurate" : "the cheapest";
    $("goal-answer").textContent =
      `${name}: ${best} of ${found.length} that fit, of ${all.length} calibrated policies. On new samples it may be a little less accurate.`;
  });

  return { start: goalKind };
};
