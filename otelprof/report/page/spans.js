// Spans: which lie below which, how much was sampled in them, and how much of them was not sampled at all.

import { NO_SPAN, UNKNOWN_SPAN, UNRECORDED_SPAN } from "./profile.js";

const ERROR = 2; // of OTLP's status codes
// Sampled time may pass a duration by so much before threads must have run side by side: a period more or less is no news.
const PARALLEL = 1.05;
// A span that ends later than one above it goes on without that, as a background task does: it does not count for it. Ends
// that are so near are of spans that were left together.
const SAME_END_NS = 1e6;

/** What samples outside of every recorded span are listed under, and why they are. */
export const OUTSIDE = [
  ["none", NO_SPAN, "(no span)", "No span was current."],
  ["unknown", UNKNOWN_SPAN, "(span unknown)", "Which span was current could not be proved."],
  [
    "unrecorded",
    UNRECORDED_SPAN,
    "(span not ended or not recorded)",
    "The span had not ended when the profile was written, or it was not kept.",
  ],
];

/** Spans with their places in the forest of parents, and the weights that were sampled in them. */
export class Spans {
  constructor(profile) {
    this.profile = profile;
    this.columns = profile.spans;
    this.size = this.columns.name.length;
    this.children = Array.from({ length: this.size }, () => []);
    this.order = this.#ordered();
    this.own = new Map(profile.kinds.map((kind) => [kind.name, this.#ownOf(kind)]));
    this.entry = this.#entries();
    this.endpoints = this.#endpoints();
    this.traces = this.#traces();
  }

  /** Name of a span. */
  name(row) {
    return this.profile.strings[this.columns.name[row]] || "(without a name)";
  }

  traceId(row) {
    return this.profile.strings[this.columns.trace[row]];
  }

  id(row) {
    return this.profile.strings[this.columns.id[row]];
  }

  isError(row) {
    return this.columns.status[row] === ERROR;
  }

  /** End of a span, in nanoseconds from the begin of the first. */
  end(row) {
    return this.columns.start_ns[row] + this.columns.duration_ns[row];
  }

  /** The spans below `row` and itself. */
  family(row) {
    return this.order.rows.slice(this.order.place[row], this.order.end[row]);
  }

  /** The row of the span with these ids, or -1. */
  find(traceId, spanId) {
    for (let row = 0; row < this.size; row++) {
      if (this.id(row) === spanId && this.traceId(row) === traceId) return row;
    }
    return -1;
  }

  /** What was sampled of `kind` in `row` itself, or in it and all spans below it. */
  sampled(row, kindName, withChildren) {
    const own = this.own.get(kindName);
    if (!own) return 0;
    if (!withChildren) return own[row];
    let sum = 0;
    for (const below of this.family(row)) sum += own[below];
    return sum;
  }

  /**
   * How much of a span's duration no sample of a thread covers: its task was suspended, or nothing ran it.
   *
   * With children: of the whole duration, and what the same process sampled in it and below, as far as that counts for it.
   * Without: of the time that no such child covers. `hasOutlived` where a span below did not end in time. `waiting` is never below 0, and NaN without wall samples; `isParallel` where threads together took longer
   * than that time, so that it cannot be told.
   */
  ledger(row, withChildren) {
    const duration = withChildren ? this.columns.duration_ns[row] : this.uncovered(row);
    const below = withChildren ? this.family(row).filter((at) => this.entry[at] === this.entry[row]) : [row];
    const inTime = below.filter((at) => this.countsFor(at, row));
    const sum = (kindName) => {
      const own = this.own.get(kindName);
      return own ? inTime.reduce((total, at) => total + own[at], 0) : 0;
    };
    const [wall, cpu] = [sum("wall"), sum("cpu")];
    return {
      duration,
      wall,
      cpu,
      waiting: this.own.has("wall") ? Math.max(0, duration - wall) : NaN,
      isParallel: wall > duration * PARALLEL,
      hasOutlived: inTime.length < below.length,
    };
  }

  /** Whether the time of `below` is part of that of `row`, a span above it or itself, of the same process. */
  countsFor(below, row) {
    return this.entry[below] === this.entry[row] && this.end(below) <= this.end(row) + SAME_END_NS;
  }

  #ordered() {
    const { parent, start_ns: start } = this.columns;
    const roots = [];
    for (let row = 0; row < this.size; row++) {
      (parent[row] >= 0 ? this.children[parent[row]] : roots).push(row);
    }
    const lastFirst = (a, b) => start[b] - start[a];
    const rows = new Int32Array(this.size);
    const place = new Int32Array(this.size);
    const end = new Int32Array(this.size);
    const waiting = roots.sort(lastFirst);
    let next = 0;
    while (waiting.length) {
      const row = waiting.pop();
      place[row] = next;
      rows[next++] = row;
      for (const child of [...this.children[row]].sort(lastFirst)) waiting.push(child);
    }
    for (let at = this.size - 1; at >= 0; at--) {
      const row = rows[at];
      end[row] = Math.max(end[row], at + 1);
      if (parent[row] >= 0) end[parent[row]] = Math.max(end[parent[row]], end[row]);
    }
    return { rows, place, end };
  }

  #ownOf(kind) {
    const own = new Float64Array(this.size);
    for (let row = 0; row < kind.span.length; row++) {
      if (kind.span[row] >= 0) own[kind.span[row]] += kind.weight[row];
    }
    return own;
  }

  /** For each span the one by which its process was entered: its local root, or else the outermost that is recorded. */
  #entries() {
    const { parent, root } = this.columns;
    const entry = new Int32Array(this.size);
    for (const row of this.order.rows) {
      const isRoot = root[row] >= 0 && root[root[row]] === root[row]; // files may say anything
      entry[row] = isRoot ? root[row] : parent[row] >= 0 ? entry[parent[row]] : row;
    }
    return entry;
  }

  /** How long a span lasted while none of those below it did that count for it, in nanoseconds. */
  uncovered(row) {
    const begin = this.columns.start_ns[row];
    const end = this.end(row);
    let covered = begin;
    let uncovered = 0;
    const children = [...this.family(row)].filter((at) => at !== row && this.countsFor(at, row)).sort((a, b) => this.columns.start_ns[a] - this.columns.start_ns[b]);
    for (const child of children) {
      const from = Math.min(end, Math.max(covered, this.columns.start_ns[child]));
      uncovered += from - covered;
      covered = Math.max(covered, Math.min(end, this.end(child)));
    }
    return uncovered + end - covered;
  }

  #endpoints() {
    const byName = new Map();
    for (let row = 0; row < this.size; row++) {
      if (this.entry[row] !== row) continue;
      const name = this.name(row);
      if (!byName.has(name)) byName.set(name, { name, spans: [], errors: 0 });
      const endpoint = byName.get(name);
      endpoint.spans.push(row);
      if (this.isError(row)) endpoint.errors++;
    }
    return [...byName.values()].map((endpoint) => this.#summed(endpoint));
  }

  #summed(endpoint) {
    const sorted = Float64Array.from(endpoint.spans, (row) => this.columns.duration_ns[row]).sort();
    const rank = (q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
    const sums = { cpu: 0, wall: 0, total: 0 };
    for (const row of endpoint.spans) {
      const ledger = this.ledger(row, true);
      sums.cpu += ledger.cpu;
      sums.wall += ledger.wall;
      sums.total += ledger.duration;
    }
    // Not the sum of what is left of each: a sample stands for a whole period, most of which may lie outside of a short span.
    sums.waiting = this.own.has("wall") ? Math.max(0, sums.total - sums.wall) : NaN;
    return { ...endpoint, ...sums, p50: rank(0.5), p95: rank(0.95), max: sorted.at(-1), mean: sums.total / sorted.length };
  }

  /** Each trace by the span in it by which a process was entered for the longest time. */
  #traces() {
    const byTrace = new Map();
    const { duration_ns: durations, trace: traces } = this.columns;
    for (const row of this.order.rows) {
      if (!byTrace.has(traces[row])) byTrace.set(traces[row], { root: row, count: 0, errors: 0 });
      const trace = byTrace.get(traces[row]);
      trace.count++;
      if (this.isError(row)) trace.errors++;
      if (this.entry[row] === row && durations[row] > durations[trace.root]) trace.root = row;
    }
    return [...byTrace.values()].map((trace) => ({ ...trace, ...this.ledger(trace.root, true) }));
  }

  /** All spans of the trace that `row` belongs to, parents first: [row, depth] each. */
  trace(row) {
    const depths = new Map();
    const rows = [];
    for (const at of this.order.rows) {
      if (this.columns.trace[at] !== this.columns.trace[row]) continue;
      const depth = (depths.get(this.columns.parent[at]) ?? -1) + 1;
      depths.set(at, depth);
      rows.push([at, depth]);
    }
    return rows;
  }
}
