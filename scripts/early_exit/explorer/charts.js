// What is drawn: accuracy against cost, and the uncertainties at each exit. Axes, scales and zoom are
// uPlot's.
"use strict";

const Charts = (() => {
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
  // viridis, light for the first exit, dark for the last, as in the figures.
  const SHADES = [
    "#b5de2b",
    "#6ece58",
    "#35b779",
    "#1f9e89",
    "#26828e",
    "#31688e",
    "#3e4989",
    "#482878",
  ];

  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function exitColour(k, exits) {
    const place = exits > 1 ? (k / (exits - 1)) * (SHADES.length - 1) : 0;
    const low = Math.floor(place),
      part = place - low;
    const [a, b] = [SHADES[low], SHADES[Math.min(low + 1, SHADES.length - 1)]].map((hex) =>
      [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)),
    );
    return `rgb(${a.map((c, i) => Math.round(c + part * (b[i] - c))).join(" ")})`;
  }
  /** Black or white, whichever is read on the colour of an exit. */
  const inkOn = (k, exits) => (exits > 1 && k / (exits - 1) > 0.42 ? "#fff" : "#10161c");

  function axis(more) {
    return {
      stroke: colour("soft"),
      font: FONT,
      labelFont: FONT,
      labelSize: 20,
      labelGap: 0,
      grid: { stroke: colour("grid"), width: 1 },
      ticks: { stroke: colour("line"), width: 1, size: 5 },
      ...more,
    };
  }

  const padded = (low, high, part = 0.05) => {
    const pad = part * (high - low || Math.abs(high) || 1);
    return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
  };

  // ---- marks ----

  const SHAPES = {
    star(c, r) {
      for (let n = 0; n < 10; n++) {
        const a = (Math.PI * n) / 5 - Math.PI / 2,
          s = n % 2 ? 0.45 * r : r;
        c.lineTo(s * Math.cos(a), s * Math.sin(a));
      }
    },
    circle: (c, r) => c.arc(0, 0, r, 0, 2 * Math.PI),
    square: (c, r) => c.rect(-r, -r, 2 * r, 2 * r),
    diamond: (c, r) =>
      [
        [0, -r],
        [r, 0],
        [0, r],
        [-r, 0],
      ].forEach(([x, y]) => c.lineTo(x, y)),
  };
  const STYLES = () => ({
    policy: { shape: "circle", size: 2.9, fill: colour("mark"), alpha: 0.6 },
    exit: { shape: "circle", size: 8.5, fill: colour("card"), edge: colour("mark"), width: 1.4 },
    full: { shape: "square", size: 6, fill: colour("ink"), edge: colour("card"), width: 1.5 },
    chosen: { shape: "star", size: 11.5, fill: colour("star"), edge: colour("card"), width: 1.4 },
    pinned: {
      shape: "diamond",
      size: 9.5,
      fill: colour("other"),
      edge: colour("card"),
      width: 1.6,
      text: "A",
    },
    current: {
      shape: "circle",
      size: 8.5,
      fill: colour("accent"),
      edge: colour("card"),
      width: 2.4,
    },
    // Around the mark of the policy that it is.
    around: { shape: "circle", size: 15, fill: colour("card"), edge: colour("accent"), width: 3.2 },
  });

  /** Draw a mark at (0, 0); `text` is written in it. */
  function draw(c, style, ratio, text) {
    c.beginPath();
    SHAPES[style.shape](c, style.size * ratio);
    c.closePath();
    c.fillStyle = style.fill;
    c.globalAlpha = style.alpha ?? 1;
    c.fill();
    c.globalAlpha = 1;
    if (style.edge) {
      c.strokeStyle = style.edge;
      c.lineWidth = style.width * ratio;
      c.stroke();
    }
    if (text) {
      c.fillStyle = style.shape === "diamond" ? colour("card") : colour("soft");
      c.font = `600 ${1.2 * style.size * ratio}px system-ui, sans-serif`;
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.fillText(text, 0, 0.5 * ratio);
    }
  }

  /** A mark on a canvas of its own, for the legend. */
  function sample(kind, text) {
    const canvas = document.createElement("canvas"),
      ratio = 2;
    canvas.width = 22 * ratio;
    canvas.height = 17 * ratio;
    const c = canvas.getContext("2d");
    c.translate(canvas.width / 2, canvas.height / 2);
    if (kind === "front" || kind === "sweep") {
      c.strokeStyle = colour(kind === "front" ? "front" : "mark");
      c.lineWidth = 1.8 * ratio;
      c.setLineDash(kind === "sweep" ? [4 * ratio, 3 * ratio] : []);
      c.beginPath();
      c.moveTo(-10 * ratio, 0);
      c.lineTo(10 * ratio, 0);
      c.stroke();
    } else {
      const style = { ...STYLES()[kind] };
      style.size = Math.min(style.size, 7.6);
      draw(c, style, ratio, text);
    }
    return canvas;
  }

  // ---- accuracy against cost ----

  /**
   * The chart. `look` has the functions marks() -> [{kind, x, y, low, high, text, name, policy}],
   * front() and sweep() -> [[x, y] ...], labels() -> {x, y}, and the callbacks over(mark, event) and
   * click(mark).
   */
  function tradeOff(element, look) {
    let marks = [],
      near = null,
      moved = false;
    const ORDER = ["policy", "exit", "full", "current", "pinned", "chosen"];

    function takeMarks() {
      marks = look.marks().sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
    }

    function data() {
      takeMarks();
      const rows = new Map();
      const put = (x, column, y) => {
        if (!rows.has(x)) rows.set(x, [x, undefined, undefined, null]);
        rows.get(x)[column] = y;
      };
      look.front().forEach(([x, y]) => put(x, 1, y));
      look.sweep().forEach(([x, y]) => put(x, 2, y));
      // Drawn by hand; here for the range of the axes.
      marks.forEach(({ x, y }) => rows.get(x)?.[3] == null && put(x, 3, y));
      const ordered = [...rows.values()].sort((a, b) => a[0] - b[0]);
      return [0, 1, 2, 3].map((column) => ordered.map((row) => row[column]));
    }

    /** Ranges of the axes: of all lines and marks, and of the intervals of marks that stay. */
    function rangesOf([xs, ...columns]) {
      const stay = marks.filter(({ kind }) => kind === "full" || kind === "chosen");
      const ys = columns
        .flat()
        .concat(stay.flatMap(({ low, high }) => [low, high]))
        .filter(Number.isFinite);
      return {
        x: padded(Math.min(...xs), Math.max(...xs)),
        y: padded(Math.min(...ys), Math.max(...ys), 0.06),
      };
    }

    function drawMarks(u) {
      const c = u.ctx,
        ratio = uPlot.pxRatio,
        styles = STYLES();
      const { left, top, width, height } = u.bbox;
      c.save();
      // Of the line before.
      c.setLineDash([]);
      for (const mark of marks) {
        const x = u.valToPos(mark.x, "x", true),
          y = u.valToPos(mark.y, "y", true);
        const edge = 12 * ratio;
        if (x < left - edge || x > left + width + edge || y < top - edge || y > top + height + edge)
          continue;
        const style = styles[mark.around ? "around" : mark.kind];
        if (mark.low !== undefined && ["current", "pinned", "chosen", "full"].includes(mark.kind)) {
          c.strokeStyle = mark.around ? style.edge : style.fill;
          c.lineWidth = 1.6 * ratio;
          c.beginPath();
          c.save();
          c.rect(left, top, width, height);
          c.clip();
          c.beginPath();
          for (const end of [mark.low, mark.high]) {
            const at = u.valToPos(end, "y", true);
            c.moveTo(x, y);
            c.lineTo(x, at);
            c.moveTo(x - 4 * ratio, at);
            c.lineTo(x + 4 * ratio, at);
          }
          c.stroke();
          c.restore();
        }
        c.save();
        c.translate(x, y);
        const shown = mark === near ? { ...style, size: style.size * 1.3 } : style;
        draw(c, shown, ratio, mark.text ?? style.text);
        c.restore();
      }
      c.restore();
    }

    function nearest(u, left, top) {
      let best = null,
        least = 14;
      for (const mark of marks) {
        const d = Math.hypot(u.valToPos(mark.x, "x") - left, u.valToPos(mark.y, "y") - top);
        // The last drawn is on top.
        if (d <= least) [best, least] = [mark, d];
      }
      return best;
    }

    const { x, y } = look.labels();
    const options = {
      width: element.clientWidth,
      height: element.clientHeight,
      legend: { show: false },
      padding: [10, 14, 0, 0],
      scales: {
        // Called at every change, with the range that there is.
        x: { time: false, range: (u, low, high) => (moved ? [low, high] : ranges.x) },
        y: { range: (u, low, high) => (moved ? [low, high] : ranges.y) },
      },
      axes: [
        axis({
          label: x,
          size: 32,
          values: (u, all) => all.map((v) => String(Number(v.toPrecision(6)))),
        }),
        axis({
          label: y,
          size: 46,
          values: (u, all) => all.map((v) => String(Number(v.toPrecision(6)))),
        }),
      ],
      series: [
        {},
        { stroke: colour("front"), width: 2, points: { show: false } },
        { stroke: colour("mark"), width: 1.6, dash: [5, 4], points: { show: false } },
        { paths: () => null, points: { show: false } },
      ],
      cursor: {
        points: { show: false },
        x: false,
        y: false,
        drag: { x: true, y: true, uni: 20, dist: 6 },
      },
      hooks: {
        draw: [drawMarks],
        setSelect: [(u) => (moved = u.select.width > 0 || u.select.height > 0)],
      },
    };
    const first = data(),
      ranges = rangesOf(first);
    const u = new uPlot(options, first, element);
    const over = u.over;
    over.addEventListener("mousemove", (event) => {
      const found = nearest(u, event.offsetX, event.offsetY);
      over.classList.toggle("near", !!found?.policy);
      look.over(found, event);
      if (found === near) return;
      near = found;
      u.redraw(false, false);
    });
    over.addEventListener("mouseleave", () => {
      near = null;
      look.over(null);
      u.redraw(false, false);
    });
    let pressed = null;
    over.addEventListener("mousedown", (event) => (pressed = [event.clientX, event.clientY]));
    over.addEventListener("click", (event) => {
      const [a, b] = pressed ?? [event.clientX, event.clientY];
      if (Math.hypot(event.clientX - a, event.clientY - b) > 5) return;
      const found = nearest(u, event.offsetX, event.offsetY);
      if (found?.policy) look.click(found);
    });
    over.addEventListener("dblclick", () => {
      moved = false;
      u.setData(first);
    });

    return {
      u,
      /** New marks; lines and axes stay. */
      update() {
        takeMarks();
        u.redraw(false, false);
      },
      resize: () => u.setSize({ width: element.clientWidth, height: element.clientHeight }),
      /** The chart on paper of the page's colour, as a blob. */
      png() {
        const canvas = document.createElement("canvas");
        canvas.width = u.ctx.canvas.width;
        canvas.height = u.ctx.canvas.height;
        const c = canvas.getContext("2d");
        c.fillStyle = colour("card");
        c.fillRect(0, 0, canvas.width, canvas.height);
        c.drawImage(u.ctx.canvas, 0, 0);
        return new Promise((done) => canvas.toBlob(done, "image/png"));
      },
    };
  }

  // ---- uncertainties at an exit ----

  /** A histogram whose threshold is dragged; `moved(threshold)` is called with a turned one. */
  function histogram(element, { low, high, sign, label, moved }) {
    const edges = Array.from(
      { length: Model.BINS + 1 },
      (_, n) => low + (n * (high - low)) / Model.BINS,
    );
    const bars = uPlot.paths.bars({ size: [1, Infinity], align: 1, gap: 1 });
    const empty = [...new Array(Model.BINS).fill(0), null];
    const u = new uPlot(
      {
        width: element.clientWidth || 300,
        height: 104,
        legend: { show: false },
        padding: [6, 8, 0, 0],
        scales: {
          x: { time: false, range: () => [low, high] },
          // Square roots: the few wrong ones are seen beside the many right ones.
          y: {
            distr: 100,
            fwd: Math.sqrt,
            bwd: (v) => v * v,
            range: (v, a, b) => [0, Math.max(1, b)],
          },
        },
        axes: [
          axis({
            size: 18,
            ticks: { show: false },
            grid: { show: false },
            gap: 2,
            values: (v, all) => all.map((t) => String(Number((sign * t).toPrecision(6)))),
            space: 60,
          }),
          axis({
            size: 38,
            gap: 3,
            ticks: { show: false },
            filter: (v, all) => all,
            splits: (v, axisNumber, a, b) => [0, b / 4, b],
            values: (v, all) =>
              all.map((n) => (Number.isInteger(n) || n > 4 ? String(Math.round(n)) : "")),
          }),
        ],
        series: [
          {},
          { fill: colour("right"), paths: bars, points: { show: false } },
          { fill: colour("wrong"), paths: bars, points: { show: false } },
        ],
        cursor: { show: false },
      },
      [edges, empty, empty],
      element,
    );
    const drag = document.createElement("div");
    drag.className = "drag";
    drag.title = label;
    drag.append(Object.assign(document.createElement("div"), { className: "fill" }));
    u.over.append(drag);
    const to = (event) => {
      const box = u.over.getBoundingClientRect();
      const part = (event.clientX - box.left) / box.width;
      if (part <= 0) return moved(Model.NEVER);
      if (part >= 1) return moved(Model.ALWAYS);
      moved(Number((low + part * (high - low)).toPrecision(3)));
    };
    u.over.style.touchAction = "pan-y";
    u.over.style.cursor = "ew-resize";
    u.over.addEventListener("pointerdown", (event) => {
      u.over.setPointerCapture(event.pointerId);
      to(event);
    });
    u.over.addEventListener("pointermove", (event) => {
      if (u.over.hasPointerCapture(event.pointerId)) to(event);
    });
    return {
      set(threshold, { all, wrong }) {
        u.setData([edges, [...all, null], [...wrong, null]]);
        const part =
          threshold === Model.NEVER
            ? 0
            : threshold === Model.ALWAYS
              ? 1
              : (threshold - low) / (high - low);
        drag.style.width = `${100 * Math.max(0, Math.min(1, part))}%`;
      },
      resize: () => u.setSize({ width: element.clientWidth, height: 104 }),
      destroy: () => u.destroy(),
    };
  }

  return { tradeOff, histogram, sample, exitColour, inkOn, colour };
})();
