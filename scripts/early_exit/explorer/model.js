// What is computed: the same numbers as early_exit.policy.operating_point.simulate, from the same
// uncertainties. Thresholds are turned (negated under the rule `above`), so the lower exits.
"use strict";

const Model = (() => {
  const ARRAYS = {
    uint8: Uint8Array,
    uint16: Uint16Array,
    float32: Float32Array,
    float64: Float64Array,
  };
  const NEVER = -Infinity,
    ALWAYS = Infinity;
  // Quantile of the normal distribution of a two-sided interval of 95 %.
  const Z = 1.959963984540054;
  const BINS = 40;

  // ---- arrays ----

  /** The flat array of early_exit.explorer.data.packed. */
  async function unpack(packed) {
    const coded = Uint8Array.from(atob(packed.data), (character) => character.charCodeAt(0));
    const stream = new Blob([coded]).stream().pipeThrough(new DecompressionStream("gzip"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const kind = ARRAYS[packed.type],
      size = kind.BYTES_PER_ELEMENT,
      length = planes.length / size;
    const bytes = new Uint8Array(planes.length);
    for (let byte = 0; byte < size; byte++)
      for (let i = 0; i < length; i++) bytes[i * size + byte] = planes[byte * length + i];
    return new kind(bytes.buffer);
  }

  /** A flat array as one array for each exit. */
  function byExit(flat, exits, samples) {
    return Array.from({ length: exits }, (_, k) => flat.subarray(k * samples, (k + 1) * samples));
  }

  async function readSplit(packed, data) {
    const samples = packed.samples,
      exits = data.exits,
      sign = data.rule === "below" ? 1 : -1;
    const label = await unpack(packed.label);
    const common = byExit(await unpack(packed.prediction), exits, samples);
    const measures = [];
    for (let m = 0; m < packed.uncertainty.length; m++) {
      const turned = await unpack(packed.uncertainty[m]);
      if (sign < 0) for (let i = 0; i < turned.length; i++) turned[i] = -turned[i];
      const own = packed.predictions[m];
      const prediction = own ? byExit(await unpack(own), exits, samples) : common;
      const correct = prediction.map((exit) => Uint8Array.from(exit, (c, i) => c === label[i]));
      const unsure = byExit(turned, exits - 1, samples);
      measures.push({
        turned: unsure,
        prediction,
        correct,
        sorted: unsure.map((u) => u.slice().sort()),
      });
    }
    return { samples, of: packed.of, label, measures };
  }

  // ---- costs, as early_exit.policy.costs ----

  function headsRun(thresholds, usesEarlier) {
    const runs = thresholds.map((t) => t !== NEVER);
    if (usesEarlier && runs.some(Boolean)) runs.fill(true);
    return [...runs, true];
  }

  /** MACs of a sample that exits at each exit. */
  function macs(costs, heads) {
    let sum = 0;
    return costs.stage_macs.map((stage, k) => (sum += stage + (heads[k] ? costs.head_macs[k] : 0)));
  }

  function interpolated(logSize, logSizes, times) {
    const last = logSizes.length - 1;
    if (logSize >= logSizes[last]) return times[last];
    if (logSize < logSizes[0]) return times[0];
    let j = 0;
    while (logSize >= logSizes[j + 1]) j++;
    const slope = (times[j + 1] - times[j]) / (logSizes[j + 1] - logSizes[j]);
    return slope * (logSize - logSizes[j]) + times[j];
  }

  /** Milliseconds that stage and head k add to a sample, in batches of a size. */
  function msAdded(costs, heads, k, size) {
    const times = costs.stage_ms.map(
      (stage, b) => stage[k] + (heads[k] ? costs.head_ms[b][k] + costs.overhead_ms[b][k] : 0),
    );
    return interpolated(Math.log(Math.max(size, 1)), costs.batch_sizes.map(Math.log), times);
  }

  /** Milliseconds of a sample that exits at each exit, in full batches. */
  function ms(costs, heads, batch) {
    let sum = 0;
    return heads.map((_, k) => (sum += msAdded(costs, heads, k, batch)));
  }

  /** Mean milliseconds of a sample in batches that shrink as samples exit. */
  function predictedMs(costs, heads, shares, batch) {
    const least = Math.min(costs.regroup, batch);
    let before = 0,
      sum = 0;
    for (let k = 0; k < heads.length; k++) {
      before += shares[k];
      const reach = Math.min(Math.max(1 - before + shares[k], 0), 1);
      sum += reach * msAdded(costs, heads, k, Math.max(batch * reach, least));
    }
    return sum;
  }

  // ---- simulation ----

  /** The exit of each sample, from 0. */
  function exitsTaken(split, measure, thresholds) {
    const { turned } = split.measures[measure];
    const taken = new Uint16Array(split.samples).fill(thresholds.length);
    const left = Int32Array.from({ length: split.samples }, (_, i) => i);
    let count = split.samples;
    for (let k = 0; k < thresholds.length && count; k++) {
      const t = thresholds[k],
        unsure = turned[k];
      if (t === NEVER) continue;
      let kept = 0;
      for (let n = 0; n < count; n++) {
        const i = left[n];
        if (unsure[i] < t) taken[i] = k;
        else left[kept++] = i;
      }
      count = kept;
    }
    return taken;
  }

  /** A policy's operating point: counts of samples, and mean costs. */
  function simulate(split, data, policy, batch) {
    const { measure, thresholds } = policy,
      exits = data.exits,
      last = exits - 1;
    const taken = exitsTaken(split, measure, thresholds);
    const { correct } = split.measures[measure],
      full = correct[last];
    const exited = new Array(exits).fill(0),
      right = new Array(exits).fill(0);
    let worse = 0,
      better = 0;
    for (let i = 0; i < taken.length; i++) {
      const k = taken[i],
        ok = correct[k][i];
      exited[k]++;
      right[k] += ok;
      if (ok !== full[i]) ok ? better++ : worse++;
    }
    const point = { policy, taken, exited, right, worse, better, samples: split.samples };
    point.heads = headsRun(thresholds, data.measures[measure].uses_earlier);
    point.correct = right.reduce((a, b) => a + b, 0);
    point.accuracy = point.correct / split.samples;
    point.interval = wilson(point.correct, split.samples);
    point.shares = exited.map((count) => count / split.samples);
    return priced(point, data.costs, batch);
  }

  /** The point with its costs in batches of a size. */
  function priced(point, costs, batch) {
    point.macs = costs.stage_macs
      ? macs(costs, point.heads).reduce((sum, each, k) => sum + each * point.shares[k], 0)
      : NaN;
    point.ms = costs.stage_ms ? predictedMs(costs, point.heads, point.shares, batch) : NaN;
    return point;
  }

  /** Counts of uncertainties in bins: of the samples that reach each exit, all and wrong ones. */
  function histograms(split, measure, taken, bins) {
    const { correct } = split.measures[measure];
    return bins.map((own, k) => {
      const all = new Float64Array(BINS),
        wrong = new Float64Array(BINS);
      for (let i = 0; i < taken.length; i++) {
        if (taken[i] < k) continue;
        all[own[i]]++;
        wrong[own[i]] += 1 - correct[k][i];
      }
      return { all, wrong };
    });
  }

  /** The bin of each sample at each exit. */
  function binned(split, measure, low, high) {
    const scale = BINS / (high - low || 1);
    return split.measures[measure].turned.map((unsure) =>
      Uint8Array.from(unsure, (u) =>
        Math.max(0, Math.min(BINS - 1, Math.floor((u - low) * scale))),
      ),
    );
  }

  /** By class: samples, correct ones of a point and of the full network, and the sum of exits. */
  function byClass(split, classes, point) {
    const { correct } = split.measures[point.policy.measure],
      full = correct[correct.length - 1];
    const rows = Array.from({ length: classes }, () => ({
      samples: 0,
      right: 0,
      full: 0,
      exits: 0,
    }));
    for (let i = 0; i < split.samples; i++) {
      const row = rows[split.label[i]],
        k = point.taken[i];
      row.samples++;
      row.right += correct[k][i];
      row.full += full[i];
      row.exits += k + 1;
    }
    return rows;
  }

  /** Samples that only the first, and only the second of two points has right. */
  function discordant(split, one, other) {
    const a = split.measures[one.policy.measure].correct,
      b = split.measures[other.policy.measure].correct;
    let first = 0,
      second = 0;
    for (let i = 0; i < split.samples; i++) {
      const x = a[one.taken[i]][i],
        y = b[other.taken[i]][i];
      if (x && !y) first++;
      if (y && !x) second++;
    }
    return [first, second];
  }

  // ---- statistics ----

  /** Two-sided 95 % Wilson interval, as early_exit.statistics.intervals. */
  function wilson(successes, trials) {
    if (!trials) return [0, 1];
    const p = successes / trials,
      z2 = Z * Z,
      scale = 2 * (trials + z2);
    const center = (2 * trials * p + z2) / scale;
    const delta = (Z / scale) * Math.sqrt(4 * trials * p * (1 - p) + z2);
    return [successes === 0 ? 0 : center - delta, successes === trials ? 1 : center + delta];
  }

  /** Difference of two accuracies on the same samples, with its 95 % interval (Agresti and Min 2005). */
  function paired(better, worse, trials) {
    const difference = (better - worse) / trials;
    // Half a pair is added to each of the four kinds of pairs.
    const n = trials + 2,
      b = better + 0.5,
      w = worse + 0.5;
    const center = (b - w) / n,
      error = (Z * Math.sqrt(b + w - (b - w) ** 2 / n)) / n;
    return { difference, low: center - error, high: center + error };
  }

  // ---- thresholds ----

  /** Number of samples whose uncertainty is below a threshold. */
  function below(sorted, threshold) {
    let low = 0,
      high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < threshold) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The shortest number at which the first `count` samples exit, and what is tied with them. */
  function cut(sorted, count) {
    if (count <= 0) return NEVER;
    if (count >= sorted.length) return ALWAYS;
    const high = sorted[count];
    const before = below(sorted, high);
    // Tied with the first of all: none can be below.
    const low = before ? sorted[before - 1] : high;
    for (let digits = 1; digits < 17; digits++) {
      const number = Number(((low + high) / 2).toPrecision(digits));
      if (low < number && number <= high) return number;
    }
    return high;
  }

  return {
    NEVER,
    ALWAYS,
    BINS,
    readSplit,
    simulate,
    priced,
    histograms,
    binned,
    byClass,
    discordant,
    wilson,
    paired,
    below,
    cut,
    macs,
    ms,
    headsRun,
  };
})();
