// Numbers in words, and files: policies, CSV, lines of a configuration.
"use strict";

const Text = (() => {
  const PREFIXES = [
    [1e12, "T "],
    [1e9, "G "],
    [1e6, "M "],
    [1e3, "k "],
  ];

  const percent = (share, digits = 2) => `${(100 * share).toFixed(digits)} %`;
  const range = ([low, high], digits = 1) =>
    `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)} %`;
  const points = (share) =>
    `${share < 0 ? "−" : share > 0 ? "+" : "±"}${Math.abs(100 * share).toFixed(2)}`;
  const count = (number) => number.toLocaleString("en-US");

  /** Divisor and letter for MACs of a size. */
  function prefix(macs) {
    return PREFIXES.find(([size]) => Math.abs(macs) >= 0.999995 * size) || [1, ""];
  }

  function macs(cost, unit) {
    if (unit === "relative") return `cost ${Number(cost.toPrecision(3))}`;
    const [size, letter] = prefix(cost);
    return `${(cost / size).toFixed(2)} ${letter}MACs`;
  }

  const ms = (time) => `${Number(time.toPrecision(3))} ms`;

  /** A threshold, turned back into the unit of the measure, or a word. */
  function threshold(turned, sign) {
    if (turned === Infinity) return "always";
    if (turned === -Infinity) return "never";
    return String(sign * turned);
  }

  /** The threshold of a text, turned; NaN if it is none. */
  function readThreshold(text, sign) {
    const word = text.trim().toLowerCase();
    if (word === "always") return Infinity;
    if (word === "never") return -Infinity;
    return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/.test(word) ? sign * Number(word) || 0 : NaN;
  }

  /** A number as Python's repr writes a float. */
  function float(number) {
    if (number === null || Number.isNaN(number)) return "null";
    if (Object.is(number, -0)) return "-0.0";
    const [, sign, digits, exponent] = number.toExponential().match(/^(-?)([\d.]+)e([-+]\d+)$/);
    const power = Number(exponent);
    if (number !== 0 && (power < -4 || power >= 16)) {
      const size = String(Math.abs(power)).padStart(2, "0");
      return `${sign}${digits}e${power < 0 ? "-" : "+"}${size}`;
    }
    const plain = String(number).includes("e")
      ? number.toFixed(Math.max(0, digits.length - 2 - power))
      : String(number);
    return plain.includes(".") ? plain : `${plain}.0`;
  }

  const list = (numbers) => `[${numbers.map(float).join(", ")}]`;

  /** Thresholds in JSON as Python writes it. */
  function thresholds(turned, sign) {
    const each = turned.map((t) =>
      Number.isFinite(t) ? float(sign * t) : `"${threshold(t, sign)}"`,
    );
    return `[${each.join(", ")}]`;
  }

  /** A text with NUL around the names of gaps, filled in. */
  function filled(text, gaps) {
    return text.replace(/\0(\w+)\0/g, (_, name) => gaps[name]);
  }

  async function sha256(text) {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(
      "",
    );
  }

  /** Name and text of a policy file; `gaps` are those of policy_file.py. */
  async function policyFile(data, text, gaps) {
    if (!data.checked_file) return { name: "policy.json", text: `${filled(text, gaps)}\n` };
    const content = filled(text, gaps);
    const name = `policy-${(await sha256(gaps.policy)).slice(0, 8)}.json`;
    // As early_exit.io.files.write_json: over the name and the content.
    const checksum = await sha256(`${name}\n${content}`);
    return { name, text: `${content.slice(0, -1)}, "checksum": "${checksum}"}\n` };
  }

  /** A number that YAML reads as one: with a point before the exponent. */
  function yaml(number) {
    const text = float(number).replace(/\.0$/, "");
    return text.includes("e") && !text.includes(".") ? text.replace("e", ".0e") : text;
  }

  /** Lines for the experiment in config.yaml. */
  function configuration(data, policy, sign) {
    const each = policy.thresholds.map((t) =>
      Number.isFinite(t) ? yaml(sign * t) : threshold(t, sign),
    );
    const { name } = data.measures[policy.measure];
    const lines = [`selection: {criterion: thresholds, thresholds: [${each.join(", ")}]}`];
    if (name !== "external") {
      const others = data.measures.map((own) => own.name).filter((own) => own !== name);
      lines.unshift(`measure: ${others.length ? `[${[name, ...others].join(", ")}]` : name}`);
      lines.unshift(`exit_rule: ${data.rule}`);
    }
    return lines.map((line) => `    ${line}`).join("\n");
  }

  /** A word of a shell command. */
  const quoted = (word) =>
    /^[\w./@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

  function command(data, policy, sign) {
    const { name } = data.measures[policy.measure];
    const each = policy.thresholds.map((t) => threshold(t, sign)).join(" ");
    const output = quoted(`${data.folder}/own/policy.json`);
    return (
      `early-exit policy --results ${quoted(data.folder)} --measure ${name} \\\n` +
      `  --thresholds ${each} --output ${output}`
    );
  }

  /** Rows as CSV. A cell that a spreadsheet would run as a formula gets a quote before it. */
  function csv(rows) {
    const cell = (value) => {
      let text =
        typeof value === "number"
          ? Number.isNaN(value)
            ? ""
            : String(value)
          : String(value ?? "");
      if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }

  function download(name, content, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(
      content instanceof Blob ? content : new Blob([content], { type }),
    );
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  return {
    percent,
    range,
    points,
    count,
    prefix,
    macs,
    ms,
    threshold,
    readThreshold,
    float,
    list,
    thresholds,
    filled,
    policyFile,
    configuration,
    command,
    csv,
    download,
  };
})();
