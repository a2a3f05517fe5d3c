// Tables: by exit, of policies side by side, by class; and the bar of exit shares.
"use strict";

/** `app` has the page's state and what is computed from it, see explorer.js. */
const Tables = (app) => {
  const { $, el, fill, table, texts } = Dom;
  const { data, state, split, SIGN, K, LAST, KNOWN, RELATIVE, chosen, run, full } = app;
  const { early, short, className } = app;
  const CLASSES = 15;

  function exitRows(point) {
    const perMacs = KNOWN.macs ? Model.macs(data.costs, point.heads) : null;
    const perMs = KNOWN.ms ? Model.ms(data.costs, point.heads, state.batch) : null;
    return point.exited.map((here, k) => ({
      exit: k + 1,
      threshold: k < LAST ? Text.threshold(state.thresholds[k], SIGN) : "",
      exited: here,
      share: point.shares[k],
      right: point.right[k],
      accuracy: here ? point.right[k] / here : NaN,
      interval: Model.wilson(point.right[k], here),
      alone: app.fixed.exits[k].accuracy,
      macs: perMacs?.[k] ?? NaN,
      ms: perMs?.[k] ?? NaN,
    }));
  }
  function showExits(point) {
    const rows = exitRows(point);
    fill(
      $("shares"),
      ...rows
        .filter((row) => row.exited)
        .map((row) => {
          const k = row.exit - 1,
            wide = row.share * $("shares").clientWidth > 58;
          return el(
            "div",
            {
              style: {
                width: `${100 * row.share}%`,
                background: Charts.exitColour(k, K),
                color: Charts.inkOn(k, K),
              },
              title: `exit ${row.exit}: ${Text.percent(row.share)}`,
            },
            ...(wide
              ? [el("b", {}, Text.percent(row.share, 1)), `exit ${row.exit}`]
              : row.share > 0.03
                ? [el("b", {}, `${row.exit}`)]
                : []),
          );
        }),
    );
    table(
      $("exit-table"),
      [
        "exit",
        "threshold",
        "samples",
        "share",
        "accuracy of these",
        "if all exited here",
        KNOWN.macs ? (RELATIVE ? "cost up to here" : "MACs up to here") : null,
        KNOWN.ms ? "ms up to here" : null,
      ].filter((text) => text !== null),
      rows.map((row, k) => ({
        className: row.exited ? "" : "idle",
        cells: [
          row.exit === K ? `${K}, final` : String(row.exit),
          k < LAST ? { text: short(state.thresholds[k]), title: row.threshold } : "–",
          Text.count(row.exited),
          Text.percent(row.share, 1),
          row.exited
            ? { text: Text.percent(row.accuracy, 1), small: Text.range(row.interval) }
            : "–",
          Text.percent(row.alone, 1),
          ...(KNOWN.macs
            ? [Text.macs(row.macs, data.costs.unit).replace(" MACs", "").replace("cost ", "")]
            : []),
          ...(KNOWN.ms ? [Number(row.ms.toPrecision(3)).toString()] : []),
        ],
      })),
    );
    $("shares").setAttribute("role", "img");
    $("shares").setAttribute(
      "aria-label",
      rows.map((row) => `exit ${row.exit} ${Text.percent(row.share, 1)}`).join(", "),
    );
  }
  $("exits-csv").addEventListener("click", () => {
    const rows = exitRows(app.current).map((row) => [
      row.exit,
      row.threshold,
      row.exited,
      row.share,
      row.right,
      row.accuracy,
      ...row.interval,
      row.alone,
      row.macs,
      row.ms,
    ]);
    const head = [
      "exit",
      "threshold",
      "exited",
      "share",
      "right",
      "accuracy",
      "accuracy_low",
      "accuracy_high",
      "accuracy_on_all",
      "macs",
      "ms_per_sample",
    ];
    Text.download("exits.csv", Text.csv([head, ...rows]), "text/csv");
  });

  const lost = (point) => {
    const { difference, low, high } = Model.paired(point.better, point.worse, point.samples);
    return {
      text: `${Text.points(difference)}`,
      small: `${Text.points(low)} to ${Text.points(high)}`,
    };
  };
  /** Rows that compare points, in columns [name, point]. */
  function comparison(node, columns) {
    const base = columns.find(([name]) => name === "full network")[1];
    const row = (name, value) => ({
      cells: [
        name,
        ...columns.map(([head, point]) => {
          const own = value(point);
          return head === "current"
            ? { ...(typeof own === "object" ? own : { text: own }), className: "now" }
            : own;
        }),
      ],
    });
    const rows = [
      row("accuracy", (p) => ({ text: Text.percent(p.accuracy), small: Text.range(p.interval) })),
    ];
    rows.push(row("against the full network, points", (p) => (p === base ? "" : lost(p))));
    if (KNOWN.macs)
      rows.push(
        row(RELATIVE ? "cost" : "MACs", (p) => ({
          text: Text.macs(p.macs, data.costs.unit).replace(" MACs", "").replace("cost ", ""),
          small: Text.percent(p.macs / base.macs, 1),
        })),
      );
    if (KNOWN.ms) {
      rows.push(
        row("time, predicted", (p) => ({
          text: Text.ms(p.ms),
          small: Text.percent(p.ms / base.ms, 1),
        })),
      );
      rows.push(row("speed-up, predicted", (p) => `${(base.ms / p.ms).toFixed(2)}×`));
    }
    rows.push(row("exit early", (p) => Text.percent(early(p), 1)));
    rows.push(row("uncertainty", (p) => data.measures[p.policy.measure].label));
    table(
      node,
      [
        "",
        ...columns.map(([name]) => (name === "current" ? { text: name, className: "now" } : name)),
      ],
      rows,
    );
  }
  function columnsOf(where) {
    const columns = [["current", run(state, where)]];
    if (state.pinned) columns.push(["A", run(state.pinned, where)]);
    if (chosen) columns.push(["★ chosen", run(chosen, where)]);
    columns.push(["full network", run(full(state.measure), where)]);
    return columns;
  }
  function showComparison() {
    comparison($("compare"), columnsOf(split));
    if (!app.pinned) {
      $("compare-note").textContent = "Pin the current setting as A to compare others with it.";
      return;
    }
    const [b1, a1] = Model.discordant(split, app.current, app.pinned);
    const { difference, low, high } = Model.paired(b1, a1, split.samples);
    $("compare-note").textContent =
      `Current against A: ${Text.points(difference)} points of accuracy (${Text.points(low)} to ${Text.points(high)}); ${Text.count(b1)} samples are right only now, ${Text.count(a1)} only under A.`;
  }
  $("compare-csv").addEventListener("click", () =>
    Text.download("policies.csv", Text.csv(texts($("compare"))), "text/csv"),
  );

  // ---- classes ----

  let everyClass = false;
  function classRows(point) {
    return Model.byClass(split, data.classes, point)
      .map((row, c) => ({ ...row, name: className(c), gain: (row.right - row.full) / row.samples }))
      .filter((row) => row.samples);
  }
  function showClasses(point) {
    const rows = classRows(point).sort(
      (x, y) => x.gain - y.gain || x.right / x.samples - y.right / y.samples,
    );
    const shown = everyClass ? rows : rows.slice(0, CLASSES);
    table(
      $("classes"),
      ["class", "samples", "accuracy now", "full network", "difference, points", "mean exit"],
      shown.map((row) => ({
        cells: [
          { text: row.name, title: row.name },
          Text.count(row.samples),
          {
            text: Text.percent(row.right / row.samples, 1),
            small: Text.range(Model.wilson(row.right, row.samples), 0),
          },
          Text.percent(row.full / row.samples, 1),
          {
            text: Text.points(row.gain),
            className: row.gain < 0 ? "bad" : row.gain > 0 ? "good" : "",
          },
          (row.exits / row.samples).toFixed(2),
        ],
      })),
    );
    $("all-classes").hidden = rows.length <= CLASSES;
    $("all-classes").textContent = everyClass
      ? `Show the ${CLASSES} that lose most`
      : `Show all ${rows.length} classes`;
  }
  $("all-classes").addEventListener("click", () => {
    everyClass = !everyClass;
    showClasses(app.current);
  });
  $("classes-csv").addEventListener("click", () => {
    const rows = classRows(app.current).map((row) => [
      row.name,
      row.samples,
      row.right / row.samples,
      ...Model.wilson(row.right, row.samples),
      row.full / row.samples,
      row.exits / row.samples,
    ]);
    Text.download(
      "classes.csv",
      Text.csv([
        [
          "class_name",
          "samples",
          "accuracy",
          "accuracy_low",
          "accuracy_high",
          "full_network",
          "mean_exit",
        ],
        ...rows,
      ]),
      "text/csv",
    );
  });
  $("classes-section").hidden = !data.classes;

  return { showExits, showComparison, showClasses, comparison, columnsOf };
};
