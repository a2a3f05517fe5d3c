// A card for each exit but the final one: its histogram, slider, buttons and threshold.
"use strict";

const Cards = (app) => {
  const { $, el, fill } = Dom;
  const { data, state, split, SIGN, K, LAST, b, short } = app;
  const STEPS = 400;

  const sliderOf = (t, sorted) => {
    if (t === Model.NEVER) return 0;
    if (t === Model.ALWAYS) return STEPS;
    return Math.max(
      1,
      Math.min(STEPS - 1, Math.round((Model.below(sorted, t) / sorted.length) * STEPS)),
    );
  };

  const cards = [];
  function exitCard(k) {
    const title = el(
      "h3",
      {},
      el("i", { style: { background: Charts.exitColour(k, K) } }),
      `Exit ${k + 1}`,
    );
    const output = el("output", {});
    const place = el("div", { className: "histogram", "aria-hidden": "true" });
    const slider = el("input", {
      type: "range",
      min: 0,
      max: STEPS,
      step: 1,
      "aria-label": `Exit ${k + 1}: share of samples below the threshold`,
    });
    const never = el("button", { type: "button", "aria-label": `Exit ${k + 1}: never` }, "never");
    const always = el(
      "button",
      { type: "button", "aria-label": `Exit ${k + 1}: always` },
      "always",
    );
    const number = el("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: false,
      "aria-label": `Threshold of exit ${k + 1}`,
    });
    const node = el(
      "div",
      { className: "exit" },
      el("div", { className: "exit-head" }, title, output),
      place,
      el("div", { className: "setting" }, never, slider, always, number),
    );
    const set = (t) => {
      state.thresholds[k] = t;
      app.changed();
    };
    slider.addEventListener("input", () =>
      set(
        Model.cut(
          split.measures[state.measure].sorted[k],
          Math.round((slider.value / STEPS) * split.samples),
        ),
      ),
    );
    never.addEventListener("click", () => set(Model.NEVER));
    always.addEventListener("click", () => set(Model.ALWAYS));
    // What is being typed is not overwritten.
    number.addEventListener("input", () => (card.typing = true));
    number.addEventListener("blur", () => ((card.typing = false), app.changed()));
    number.addEventListener("change", () => {
      const t = Text.readThreshold(number.value, SIGN);
      number.setAttribute("aria-invalid", Number.isNaN(t));
      card.typing = Number.isNaN(t);
      if (!Number.isNaN(t)) set(t);
    });
    const card = {
      node,
      output,
      place,
      slider,
      never,
      always,
      number,
      set,
      chart: null,
      typing: false,
    };
    return card;
  }
  for (let k = 0; k < LAST; k++) cards.push(exitCard(k));
  fill($("exits"), ...cards.map((card) => card.node));

  function draw() {
    cards.forEach((card) => {
      card.chart?.destroy();
      const { low, high } = app.fixed;
      card.chart = Charts.histogram(card.place, {
        low,
        high,
        sign: SIGN,
        label: "drag the threshold",
        moved: card.set,
      });
    });
    const own = data.measures[state.measure];
    const unit = own.unit ? ` (${own.unit})` : "";
    $("how").textContent = LAST
      ? `A sample exits at the first exit where its ${own.label}${unit} is ${data.rule} the threshold. Bars count the samples that reach the exit. Drag in them, or use the sliders.`
      : "This network has a single exit.";
  }

  function show(point) {
    const counts = Model.histograms(split, state.measure, point.taken, app.fixed.bins);
    let reach = split.samples;
    cards.forEach((card, k) => {
      const t = state.thresholds[k];
      card.slider.value = sliderOf(t, split.measures[state.measure].sorted[k]);
      const text = short(t);
      card.number.title = Text.threshold(t, SIGN);
      if (!card.typing) {
        card.number.value = text;
        card.number.setAttribute("aria-invalid", false);
      }
      card.slider.setAttribute("aria-valuetext", text);
      card.never.setAttribute("aria-pressed", t === Model.NEVER);
      card.always.setAttribute("aria-pressed", t === Model.ALWAYS);
      const here = point.exited[k];
      const words = !reach
        ? ["no sample gets here"]
        : [
            b(Text.percent(point.shares[k], 1)),
            " exit",
            here ? `, ${Text.percent(point.right[k] / here, 1)} of them right` : "",
          ];
      fill(card.output, ...words);
      card.node.classList.toggle("idle", !reach);
      card.chart.set(t, counts[k]);
      reach -= here;
    });
  }

  const resize = () => cards.forEach((card) => card.chart?.resize());

  return { STEPS, sliderOf, draw, show, resize };
};
