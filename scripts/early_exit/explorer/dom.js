// Elements of the page. Text is always text, never HTML.
"use strict";

const Dom = (() => {
  const $ = (id) => document.getElementById(id);

  /** An element with text, attributes and children; text is never HTML. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "style") Object.assign(node.style, value);
      else if (key in node && key !== "list") node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  const fill = (node, ...children) => node.replaceChildren(...children);

  /** A table of a head, and rows whose first cell is their name; a cell is a text, or {text, ...}. */
  function table(node, head, rows) {
    const cell = (value, tag = "td") => {
      if (value === null || typeof value !== "object") return el(tag, {}, value ?? "");
      const made = el(tag, { className: value.className ?? "" }, value.text);
      if (value.small) made.append(" ", el("small", {}, value.small));
      if (value.title) made.title = value.title;
      return made;
    };
    const heads = head.map((text) => Object.assign(cell(text, "th"), { scope: "col" }));
    const body = rows.map(({ cells: [name, ...rest], className: kind }) =>
      el(
        "tr",
        { className: kind ?? "" },
        Object.assign(cell(name, "th"), { scope: "row" }),
        ...rest.map((value) => cell(value)),
      ),
    );
    fill(node, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body));
  }
  const texts = (node) =>
    [...node.rows].map((row) => [...row.cells].map((cell) => cell.textContent));

  return { $, el, fill, table, texts };
})();
