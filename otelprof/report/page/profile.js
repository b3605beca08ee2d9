// The columns of a report as typed arrays, and samples chosen from them.

import { printable } from "./format.js";

export const NO_SPAN = -1;
export const UNKNOWN_SPAN = -2;
export const UNRECORDED_SPAN = -3;

export const APPLICATION = 0;
export const LIBRARY = 1;
export const STANDARD = 2;
export const NO_CODE = 3;
export const CATEGORIES = ["application", "library", "standard library", "no code"];

const FORMAT = "otelprof.report";
const VERSION = 1;
const PACKAGES = /[/\\](?:site|dist)-packages[/\\]/;
const CONSOLE_SCRIPT = /[/\\](?:bin|Scripts)[/\\][^./\\]+$/;
const STANDARD_LIBRARY = /[/\\]lib(?:64)?[/\\]python\d[\d.]*t?[/\\]|^<frozen /i;
const OURS = "otelprof."; // it may run from a checkout

/** Samples of all kinds, the tree of their stacks, and the spans they belong to. */
export class Profile {
  /** @param columns what `columns.py` describes; an Error says what is wrong with it. */
  constructor(columns) {
    if (columns.format !== FORMAT || columns.version !== VERSION) {
      throw new Error(`this is ${columns.format} ${columns.version}, not ${FORMAT} ${VERSION}`);
    }
    this.title = printable(columns.title);
    this.startUnixMs = columns.start_unix_ms;
    this.durationNs = columns.duration_ns;
    this.strings = columns.strings.map(printable);
    this.threads = columns.threads.map(printable);
    this.facts = columns.facts.map((fact) => fact.map(printable));
    this.losses = columns.losses.map(([kind, reason, lost]) => [printable(kind), printable(reason), lost]);
    this.functions = int32(columns.functions);
    this.frames = int32(columns.frames);
    this.nodes = int32(columns.nodes);
    this.kinds = columns.kinds.map((kind) => new Kind(kind));
    this.spans = {
      ...int32(columns.spans, ["trace", "id", "parent", "root", "name", "route", "thread", "kind", "status"]),
      begin_unix_ms: columns.spans.begin_unix_ms,
      start_ns: Float64Array.from(columns.spans.start_ns),
      duration_ns: Float64Array.from(columns.spans.duration_ns),
    };
    this.category = Uint8Array.from(this.functions.name, (_, row) => this.#categoryOf(row));
  }

  /** How many functions there are, the null one with them. */
  get functionCount() {
    return this.functions.name.length;
  }

  /** The kind of this name, or else the first; undefined if there is none. */
  kindNamed(name) {
    return this.kinds.find((kind) => kind.name === name) ?? this.kinds[0];
  }

  /** The name of the function in row `row`; its file where it has none. */
  functionName(row) {
    return this.strings[this.functions.name[row]] || this.strings[this.functions.file[row]] || "all";
  }

  /** Where the function in row `row` is: file and first line, as far as they are known. */
  place(row) {
    const file = this.strings[this.functions.file[row]];
    const line = this.functions.line[row];
    return file && line ? `${file}:${line}` : file;
  }

  /** Whose code it is; `origins.py` has the same rule. */
  #categoryOf(row) {
    const file = this.strings[this.functions.file[row]];
    const name = this.strings[this.functions.name[row]];
    if (!file && (!name || name.startsWith("("))) return NO_CODE;
    if (name.startsWith(OURS) || PACKAGES.test(file) || CONSOLE_SCRIPT.test(file)) return LIBRARY;
    return STANDARD_LIBRARY.test(file) ? STANDARD : APPLICATION;
  }
}

/** The samples of one kind: which node of the tree, which span, which thread, how much. */
export class Kind {
  constructor(columns) {
    this.name = printable(columns.name);
    this.label = this.name === "cpu" ? "CPU" : this.name;
    this.type = printable(columns.type);
    this.unit = printable(columns.unit);
    this.period = columns.period;
    this.isCounted = columns.is_counted;
    Object.assign(this, int32(columns, ["node", "span", "thread"]));
    this.weight = Float64Array.from(columns.weight);
    // Where samples were not counted, a weight says about how many they were at the rate that was asked for.
    this.count = columns.is_counted
      ? Float64Array.from(columns.count)
      : this.weight.map((weight) => (columns.period > 0 ? weight / columns.period : 0));
  }

  /** Weight and count of the samples for which `accepts(span, thread)` holds, by node: [weights, counts]. */
  byNode(nodeCount, accepts) {
    const weights = new Float64Array(nodeCount);
    const counts = new Float64Array(nodeCount);
    for (let row = 0; row < this.node.length; row++) {
      if (!accepts(this.span[row], this.thread[row])) continue;
      weights[this.node[row]] += this.weight[row];
      counts[this.node[row]] += this.count[row];
    }
    return [weights, counts];
  }
}

function int32(columns, names = Object.keys(columns)) {
  return Object.fromEntries(names.map((name) => [name, Int32Array.from(columns[name])]));
}
