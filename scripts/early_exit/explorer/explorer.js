// What is shown, and what happens when a control is moved.
"use strict";

(async () => {
  const { $, el, fill } = Dom;
  const data = JSON.parse($("data").textContent);
  const SIGN = data.rule === "below" ? 1 : -1,
    K = data.exits,
    LAST = K - 1;
  const SWEEP = 80;
  const KNOWN = { macs: !!data.costs.stage_macs, ms: !!data.costs.stage_ms };
  const RELATIVE = data.costs.unit === "relative";

  const className = (c) => (data.class_names ? data.class_names[c] : `class ${c}`);

  const splits = {};
  for (const name of Object.keys(data.splits))
    splits[name] = await Model.readSplit(data.splits[name], data);
  delete data.splits;
  const split = splits.calibration;

  // ---- state ----

  const turned = (t) => (t === "never" ? Model.NEVER : t === "always" ? Model.ALWAYS : SIGN * t);
  const policies = data.policies.map((own) => ({ ...own, thresholds: own.thresholds.map(turned) }));
  const chosen = policies.find((own) => own.chosen) ?? null;
  const full = (measure) => ({ measure, thresholds: new Array(LAST).fill(Model.NEVER) });
  const copy = ({ measure, thresholds }) => ({ measure, thresholds: [...thresholds] });
  const first = chosen ?? policies[Math.floor(policies.length / 2)] ?? full(0);
  const state = {
    ...copy(first),
    unit: KNOWN.macs ? "macs" : "ms",
    batch: data.costs.batch_size,
    pinned: null,
  };
  const same = (a, b) =>
    a.measure === b.measure && a.thresholds.every((t, k) => t === b.thresholds[k]);

  const run = (policy, where = split) => Model.simulate(where, data, policy, state.batch);
  const cost = (point) => point[state.unit];
  const early = (point) => 1 - point.shares[LAST];

  // ---- points that only a change of measure or batch changes ----

  let fixed = {};
  function measureChanged() {
    const { measure } = state,
      least = [],
      most = [];
    split.measures[measure].sorted.forEach((u) => {
      least.push(u[0]);
      most.push(u[u.length - 1]);
    });
    const { largest } = data.measures[measure];
    let low = Math.min(...least),
      high = Math.max(...most);
    if (largest !== null)
      [low, high] =
        SIGN > 0
          ? [Math.min(0, low), Math.max(largest, high)]
          : [Math.min(-largest, low), Math.max(0, high)];
    if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
    fixed = { low, high, bins: Model.binned(split, measure, low, high), all: null };
    const values = split.measures[measure].sorted.flatMap((u) => [
      ...u.filter((_, i) => i % Math.ceil((K * u.length) / 4000) === 0),
    ]);
    fixed.all = Float64Array.from(values).sort();
    fixed.sweep = [];
    // Not from never: there no head runs, and the full network has a mark of its own.
    for (let n = 1; n <= SWEEP && LAST; n++) {
      const t = Model.cut(fixed.all, Math.round((n / SWEEP) * fixed.all.length));
      fixed.sweep.push(run({ measure, thresholds: new Array(LAST).fill(t) }));
    }
    fixed.exits = Array.from({ length: K }, (_, k) => {
      const thresholds = new Array(LAST).fill(Model.NEVER);
      if (k < LAST) thresholds[k] = Model.ALWAYS;
      return run({ measure, thresholds });
    });
    fixed.full = fixed.exits[LAST];
  }
  function batchChanged() {
    const again = [...app.points, ...fixed.sweep, ...fixed.exits];
    again.forEach((point) => Model.priced(point, data.costs, state.batch));
  }
  /** Policies that no cheaper one beats, by ascending cost. */
  function frontier() {
    const ordered = [...app.points].sort((a, b) => cost(a) - cost(b) || b.accuracy - a.accuracy);
    let best = -1;
    return ordered.filter((point) => point.accuracy > best && ((best = point.accuracy), true));
  }

  // ---- what the parts of the page share ----

  // A number and its unit stay on one line.
  const b = (text) => el("b", {}, text.replaceAll(" ", "\u00a0"));
  /** A threshold in few digits; the exact one is in titles and files. */
  const short = (t) =>
    Number.isFinite(t) ? String(Number((SIGN * t).toPrecision(5))) : Text.threshold(t, SIGN);
  const sizes = [...new Set([...data.costs.batch_sizes, data.costs.batch_size])].sort(
    (x, y) => x - y,
  );
  const app = {
    ...{ data, state, split, SIGN, K, LAST, KNOWN, RELATIVE, chosen, sizes },
    ...{ policies, run, full, same, cost, early, frontier, b, short, className, changed, load },
    points: policies.map((own) => run(own)),
    get current() {
      return current;
    },
    get pinned() {
      return pinned;
    },
    get fixed() {
      return fixed;
    },
  };
  let current = null,
    pinned = null;
  const cards = Cards(app),
    tables = Tables(app),
    pictures = Pictures(app),
    keep = Keep(app),
    overview = Overview(app),
    goals = Goals(app);

  // ---- the head of the page ----

  $("name").textContent = data.name;
  $("facts").textContent = data.facts.join(" · ");
  $("banner").hidden = !data.warnings.length;
  fill($("banner"), ...data.warnings.map((text) => el("p", {}, text)));
  const part =
    split.samples < split.of
      ? `a random ${Text.count(split.samples)} of ${Text.count(split.of)} samples of the calibration split (by a fixed seed, so that the page stays small)`
      : `the ${Text.count(split.samples)} samples of the calibration split`;
  const timed = KNOWN.ms ? " Times are predicted from the measured times of stages and exits." : "";
  $("basis").textContent = `All figures are of ${part}; intervals are of 95 %.${timed}`;
  $("foot").textContent =
    `Made by early-exit ${data.version}. The samples are in this file; it loads nothing from the network.` +
    (data.why ? ` The chosen policy: ${data.why}.` : "");

  function headline(point) {
    const words = [
      b(Text.percent(point.accuracy)),
      " accurate ",
      el("small", {}, `(${Text.range(point.interval)})`),
    ];
    const base = fixed.full;
    if (KNOWN.macs) {
      words.push(
        " at ",
        b(Text.macs(point.macs, data.costs.unit)),
        el("small", {}, ` (${Text.percent(point.macs / base.macs, 0)} of the full network's)`),
      );
    }
    if (KNOWN.ms) {
      const speed = base.ms / point.ms;
      words.push(KNOWN.macs ? " and " : " in ", b(Text.ms(point.ms)), " a sample, ");
      words.push(
        b(
          speed >= 1
            ? `${speed.toFixed(2)} times as fast`
            : `${(1 / speed).toFixed(2)} times as slow`,
        ),
      );
      words.push(el("small", {}, " (predicted)"));
    } else words.push(" a sample");
    words.push("; ", b(Text.percent(early(point), 1)), " of the samples exit early.");
    fill($("headline"), ...words);
  }

  // ---- controls ----

  const option = (value, text) => el("option", { value }, text);
  fill($("measure"), ...data.measures.map((own, m) => option(m, own.label)));
  $("measure-label").hidden = data.measures.length < 2;
  fill(
    $("unit"),
    ...[
      ["macs", RELATIVE ? "relative cost" : "MACs"],
      ["ms", "time (ms)"],
    ]
      .filter(([u]) => KNOWN[u])
      .map((o) => option(...o)),
  );
  $("unit-label").hidden = !(KNOWN.macs && KNOWN.ms);
  fill(
    $("batch"),
    ...sizes.map((size) =>
      option(size, `${size}${size === data.costs.batch_size ? " (as run)" : ""}`),
    ),
  );
  $("batch-label").hidden = !KNOWN.ms || sizes.length < 2;
  $("all-box").hidden = $("goal").hidden = LAST === 0;
  function showControls(point) {
    cards.show(point);
    const uniform = state.thresholds.every((t) => t === state.thresholds[0]);
    $("all").value =
      uniform && LAST ? cards.sliderOf(state.thresholds[0], fixed.all) : cards.STEPS / 2;
    $("all-value").textContent = uniform && LAST ? short(state.thresholds[0]) : "now one for each";
    $("all").setAttribute("aria-valuetext", $("all-value").textContent);
    $("measure").value = state.measure;
    $("unit").value = state.unit;
    $("batch").value = state.batch;
    $("reset").disabled = !chosen || same(state, chosen);
    $("reset").hidden = !chosen;
    $("unpin").hidden = !state.pinned;
    const known = policies.findIndex((own) => same(own, state));
    $("load").value = [...$("load").options].some((own) => own.value === String(known))
      ? known
      : state.thresholds.every((t) => t === Model.NEVER)
        ? "full"
        : "";
  }
  $("all").addEventListener("input", () => {
    const t = Model.cut(fixed.all, Math.round(($("all").value / cards.STEPS) * fixed.all.length));
    state.thresholds.fill(t);
    changed();
  });
  $("measure").addEventListener("change", () => {
    // The same shares of all samples below the thresholds.
    const before = split.measures[state.measure].sorted,
      measure = Number($("measure").value);
    state.thresholds = state.thresholds.map((t, k) =>
      Number.isFinite(t)
        ? Model.cut(split.measures[measure].sorted[k], Model.below(before[k], t))
        : t,
    );
    state.measure = measure;
    newMeasure();
  });
  $("unit").addEventListener("change", () => {
    state.unit = $("unit").value;
    rebuild();
  });
  $("batch").addEventListener("change", () => {
    state.batch = Number($("batch").value);
    batchChanged();
    rebuild();
  });
  $("reset").addEventListener("click", () => load(chosen));
  $("pin").addEventListener("click", () => {
    state.pinned = copy(state);
    rebuild();
  });
  $("unpin").addEventListener("click", () => {
    state.pinned = null;
    rebuild();
  });
  $("load").addEventListener("change", () => {
    const value = $("load").value;
    if (value !== "") load(value === "full" ? full(state.measure) : policies[Number(value)]);
  });

  function load(policy) {
    const other = policy.measure !== state.measure;
    Object.assign(state, copy(policy));
    other ? newMeasure() : changed();
  }

  // ---- the test split ----

  $("test-section").hidden = !splits.test;
  $("test").addEventListener("click", () => {
    tables.comparison($("test-table"), tables.columnsOf(splits.test));
    const { samples, of } = splits.test;
    const caption = `${samples < of ? `a random ${Text.count(samples)} of ${Text.count(of)}` : Text.count(samples)} test samples`;
    $("test-table").prepend(el("caption", {}, caption));
    $("test-result").hidden = false;
    $("test").hidden = true;
  });
  function hideTest() {
    $("test-result").hidden = true;
    $("test").hidden = false;
    fill($("test-table"));
  }

  // ---- all of it ----

  addEventListener("hashchange", () => {
    keep.readAddress();
    newMeasure();
  });

  let waiting = 0,
    later = 0,
    spent = 0;
  function changed() {
    if (!waiting) waiting = requestAnimationFrame(() => ((waiting = 0), show()));
  }
  function show() {
    const start = performance.now();
    current = run(state);
    pinned = state.pinned && run(state.pinned);
    headline(current);
    showControls(current);
    overview.update();
    tables.showExits(current);
    hideTest();
    spent = performance.now() - start;
    clearTimeout(later);
    later = setTimeout(showRest, 90);
  }
  /** What need not keep up with a drag. */
  function showRest() {
    tables.showComparison();
    if (data.classes) tables.showClasses(current);
    pictures.showThumbs(current);
    keep.showKeep();
    keep.writeAddress();
    document.body.dataset.settled = "yes";
  }
  function rebuild() {
    current = run(state);
    pinned = state.pinned && run(state.pinned);
    overview.draw();
    changed();
  }
  function newMeasure() {
    measureChanged();
    batchChanged();
    cards.draw();
    rebuild();
  }
  const resized = new ResizeObserver(() => {
    overview.resize();
    cards.resize();
  });

  keep.readAddress();
  document.querySelector("main").hidden = false;
  newMeasure();
  goals.start();
  resized.observe($("chart"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    cards.draw();
    rebuild();
  });
  // For tests, and for the browser's console.
  globalThis.explorer = {
    state,
    changed,
    show,
    data,
    point: (policy, name = "calibration") => run(policy, splits[name]),
    get spent() {
      return spent;
    },
    get scales() {
      return overview.scales();
    },
  };
})();
