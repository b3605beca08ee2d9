// What made groups of spans slow: a function of the application's own, or waiting. `own_code.py` and `span_table.py` have the same rules.

import { APPLICATION, NO_SPAN } from "./profile.js";

/** In place of a function's row: no thread was sampled in a span, its task was suspended, or nothing ran it. */
export const WAITING = -1;

// In so many periods no sample at all comes by chance in one of twenty cases (e^-3).
const LEAST_PERIODS = 3;

/**
 * For each node of the tree of stacks the application's own function behind it.
 *
 * That is the innermost one of its code that has to do with the span: a node that samples without a span run through, too,
 * has not: it is the `main` that runs the event loop. Where nothing is left, it is the leaf.
 *
 * @returns {behind, isOwn}: the function's row, and whether it is the application's own.
 */
function ownFunctions(profile) {
  const { parent, frame } = profile.nodes;
  const isOutside = new Uint8Array(parent.length);
  for (const { node, span } of profile.kinds) {
    for (let row = 0; row < node.length; row++) if (span[row] === NO_SPAN) isOutside[node[row]] = 1;
  }
  for (let node = parent.length - 1; node > 0; node--) if (isOutside[node]) isOutside[parent[node]] = 1;
  const own = new Int32Array(parent.length);
  for (let node = 1; node < parent.length; node++) {
    const leaf = profile.frames.function[frame[node]];
    own[node] = profile.category[leaf] === APPLICATION && !isOutside[node] ? leaf : own[parent[node]];
  }
  const behind = own.map((row, node) => row || profile.frames.function[frame[node]]);
  return { behind, isOwn: own.map((row) => (row ? 1 : 0)) };
}

/**
 * What each group of spans spent most of its time with, as a map from groups, without those too short to tell.
 *
 * @param groupOf gives the group of a span, which has a `name`, or undefined.
 * @returns {function, span, spanFunction, weight, all, sampled, count}: a function's row or WAITING; the name of the span
 *     below those of the group in which most of that was, or ""; for WAITING the application's function that most samples
 *     of that span are in, which has called what was waited for, or 0; its weight, that of all, that of samples, and their
 *     number.
 */
export function causesOf(profile, spans, kind, groupOf) {
  const groups = new Map();
  const { behind, isOwn } = ownFunctions(profile);
  const childOf = (group, span) => (spans.name(span) === group.name ? "" : spans.name(span));
  const groupAt = (span) => {
    const group = span >= 0 ? groupOf(span) : undefined;
    if (group && !groups.has(group)) groups.set(group, { functions: new Map(), own: new Set(), inSpan: new Map(), sampled: 0, count: 0 });
    return group;
  };
  for (let row = 0; row < kind.span.length; row++) {
    const group = groupAt(kind.span[row]);
    if (!group) continue;
    const sums = groups.get(group);
    const child = childOf(group, kind.span[row]);
    const node = kind.node[row];
    add(sums, behind[node], child, kind.weight[row]);
    if (isOwn[node]) sums.own.add(behind[node]);
    sums.inSpan.set(child, (sums.inSpan.get(child) ?? 0) - kind.weight[row]);
    sums.sampled += kind.weight[row];
    sums.count += kind.count[row];
  }
  if (kind.name === "wall") {
    // By names before it is compared: a sample stands for a whole period, most of which may lie outside of a short span.
    for (let row = 0; row < spans.size; row++) {
      const group = groupAt(row);
      if (!group) continue;
      const { inSpan } = groups.get(group);
      const child = childOf(group, row);
      inSpan.set(child, (inSpan.get(child) ?? 0) + spans.uncovered(row));
    }
    for (const sums of groups.values()) {
      for (const [child, waiting] of sums.inSpan) if (waiting > 0) add(sums, WAITING, child, waiting);
    }
  }
  const causes = new Map();
  for (const [group, sums] of groups) {
    if (!sums.functions.size) continue;
    const cause = mainCause(sums, (row) => (row === WAITING ? "" : profile.functionName(row)));
    const isKnown = kind.unit !== "nanoseconds" || cause.all >= LEAST_PERIODS * kind.period;
    if (cause.all > 0 && isKnown) causes.set(group, cause);
  }
  return causes;
}

function add({ functions }, row, child, weight) {
  if (!functions.has(row)) functions.set(row, new Map());
  const spans = functions.get(row);
  spans.set(child, (spans.get(child) ?? 0) + weight);
}

function mainCause({ functions, own, sampled, count }, nameOf) {
  const sums = [...functions].map(([row, spans]) => [row, [...spans.values()].reduce((sum, part) => sum + part, 0)]);
  const all = sums.reduce((sum, [, weight]) => sum + weight, 0);
  const [row, weight] = most(sums, nameOf);
  const [child, inChild] = most([...functions.get(row)], (name) => name);
  const span = 2 * inChild >= weight ? child : "";
  const spanFunction = row === WAITING && span ? functionIn(functions, own, span, nameOf) : 0;
  return { function: row, span, spanFunction, weight, all, sampled, count };
}

/** The application's function that at least half of the samples in this span are in, or 0. */
function functionIn(functions, own, span, nameOf) {
  const inside = [...functions].filter(([row, spans]) => row !== WAITING && spans.has(span)).map(([row, spans]) => [row, spans.get(span)]);
  if (!inside.length) return 0;
  const [row, weight] = most(inside, nameOf);
  return own.has(row) && 2 * weight >= inside.reduce((sum, [, part]) => sum + part, 0) ? row : 0;
}

/** The pair with most, of equals the first by name, as in the command line's table. */
function most(pairs, nameOf) {
  const isBefore = (one, other) => one[1] > other[1] || (one[1] === other[1] && nameOf(one[0]) < nameOf(other[0]));
  return pairs.reduce((best, pair) => (isBefore(pair, best) ? pair : best));
}
