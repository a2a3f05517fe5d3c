// What is taken along: lines of a configuration, a command, a policy file, and the address.
"use strict";

const Keep = (app) => {
  const { $ } = Dom;
  const { data, state, split, SIGN, K, LAST, KNOWN, sizes } = app;

  function showKeep() {
    $("lines").textContent = Text.configuration(data, state, SIGN);
    $("command-part").hidden = !data.folder;
    if (data.folder) $("command").textContent = Text.command(data, state, SIGN);
  }
  const checkable = !data.checked_file || !!globalThis.crypto?.subtle;
  $("file").disabled = !checkable;
  $("file-note").textContent = !checkable
    ? "Not offered here: open the page as a file, or over https."
    : data.checked_file
      ? `For early-exit predict. Keep its name, and put it into a folder of the experiment, such as ${data.folder || "results/NAME"}/own/.`
      : "For Policy.load in Python.";
  /** Numbers of the policy file: of the whole network's own batch size. */
  function gaps() {
    const point = Model.simulate(split, data, state, data.costs.batch_size);
    const known = (number) => (Number.isNaN(number) ? null : number);
    const per = (there, make) =>
      there ? Text.list(make()) : `[${new Array(K).fill("null").join(", ")}]`;
    const thresholds = Text.thresholds(state.thresholds, SIGN);
    const calibration = `{"accuracy": ${Text.float(point.accuracy)}, "exit_shares": ${Text.list(point.shares)}, "macs": ${Text.float(known(point.macs))}, "ms_per_sample": ${Text.float(known(point.ms))}, "samples": ${point.samples}}`;
    return {
      thresholds,
      calibration,
      policy: Text.filled(data.measures[state.measure].policy_text, { thresholds }),
      macs: per(KNOWN.macs, () => Model.macs(data.costs, point.heads)),
      ms: per(KNOWN.ms, () => Model.ms(data.costs, point.heads, data.costs.batch_size)),
    };
  }
  $("file").addEventListener("click", async () => {
    const { name, text } = await Text.policyFile(data, data.policy_file, gaps());
    Text.download(name, text, "application/json");
  });
  async function copyText(text, button) {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy by hand";
    }
    setTimeout(() => (button.textContent = before), 1500);
  }
  document
    .querySelectorAll("[data-copy]")
    .forEach((button) =>
      button.addEventListener("click", () => copyText($(button.dataset.copy).textContent, button)),
    );
  $("copy-link").addEventListener("click", () => {
    writeAddress();
    copyText(location.href, $("copy-link"));
  });

  // ---- the address ----

  const policyCode = ({ measure, thresholds }) =>
    `${data.measures[measure].name}:${thresholds.map((t) => Text.threshold(t, SIGN)).join(",")}`;
  function readPolicy(code) {
    const [name, list = ""] = (code ?? "").split(":");
    const measure = data.measures.findIndex((own) => own.name === name);
    const thresholds =
      list === "" ? [] : list.split(",").map((text) => Text.readThreshold(text, SIGN));
    return measure >= 0 && thresholds.length === LAST && !thresholds.some(Number.isNaN)
      ? { measure, thresholds }
      : null;
  }
  function writeAddress() {
    const words = [`p=${policyCode(state)}`, `unit=${state.unit}`, `batch=${state.batch}`];
    if (state.pinned) words.push(`A=${policyCode(state.pinned)}`);
    history.replaceState(null, "", `#${words.join("&")}`);
  }
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const policy = readPolicy(given.get("p")),
      other = readPolicy(given.get("A"));
    if (policy) Object.assign(state, policy);
    if (other) state.pinned = other;
    if (KNOWN[given.get("unit")]) state.unit = given.get("unit");
    if (sizes.includes(Number(given.get("batch")))) state.batch = Number(given.get("batch"));
  }

  return { showKeep, writeAddress, readAddress };
};
