// Thumbnails of some samples, at the exit that each takes.
"use strict";

const Pictures = (app) => {
  const { $, el, fill } = Dom;
  const { data, state, split, SIGN, K, LAST, b, className } = app;

  const pictures = data.thumbnails.data ? data.thumbnails : null;
  $("thumbs-section").hidden = !pictures;
  let tiles = [];
  if (pictures) {
    const { width, height, columns } = pictures,
      lines = Math.ceil(pictures.rows.length / columns);
    const zoom = Math.max(1, Math.round(40 / Math.max(width, height)));
    tiles = pictures.rows.map((row, n) => {
      const [x, y] = [n % columns, Math.floor(n / columns)];
      return el("span", {
        className: "thumb",
        tabIndex: 0,
        role: "img",
        style: {
          width: `${zoom * width + 6}px`,
          height: `${zoom * height + 6}px`,
          backgroundImage: `url("${pictures.data}")`,
          backgroundSize: `${zoom * width * columns}px ${zoom * height * lines}px`,
          backgroundPosition: `${-zoom * width * x}px ${-zoom * height * y}px`,
          imageRendering: zoom > 1 ? "pixelated" : "auto",
        },
      });
    });
    $("thumbs-note").textContent =
      `${tiles.length} samples of the calibration split, easy and hard ones in equal numbers, so more are wrong here than in the split. The wrong ones come first, with an orange frame.`;
  }
  function showThumbs(point) {
    if (!pictures) return;
    const { prediction, correct, turned: unsure } = split.measures[state.measure];
    const groups = Array.from({ length: K }, () => []);
    pictures.rows.forEach((row, n) => {
      const k = point.taken[row],
        ok = correct[k][row];
      tiles[n].classList.toggle("wrong", !ok);
      const told =
        k < LAST
          ? `, ${data.measures[state.measure].label} ${Number((SIGN * unsure[k][row]).toPrecision(3))}`
          : "";
      const what = ok
        ? className(split.label[row])
        : `${className(prediction[k][row])}, but it is ${className(split.label[row])}`;
      tiles[n].title = `${ok ? "right" : "wrong"}: ${what}${told}`;
      tiles[n].setAttribute("aria-label", tiles[n].title);
      groups[k].push([ok, n]);
    });
    fill(
      $("thumbs"),
      ...groups.map((own, k) =>
        el(
          "div",
          { className: "thumb-row" },
          el(
            "div",
            {},
            b(k === LAST ? `Exit ${K}, final` : `Exit ${k + 1}`),
            el("br"),
            el(
              "span",
              { className: "note" },
              `${own.filter(([ok]) => !ok).length} of ${own.length} wrong`,
            ),
          ),
          el("div", {}, ...own.sort((x, y) => x[0] - y[0] || x[1] - y[1]).map(([, n]) => tiles[n])),
        ),
      ),
    );
  }

  return { showThumbs };
};
