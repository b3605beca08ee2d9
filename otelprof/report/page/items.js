// What the boxes of a flame graph and the rows of tables are called, look like, and mean.

import { h } from "./dom.js";
import { amount, count, intervalText, share, shortened } from "./format.js";
import { itemName } from "./identity.js";
import { APPLICATION, CATEGORIES, LIBRARY, NO_CODE, STANDARD } from "./profile.js";
import { functionOfItem } from "./tree.js";

const FAMILIES = { [APPLICATION]: "app", [LIBRARY]: "lib", [STANDARD]: "std", [NO_CODE]: "none" };
const SHADES = 4;
const TITLE_LENGTH = 300;
const HASHED_LENGTH = 200; // of a name, for its shade

/** Items of a tree of `treeOf`: functions, or frames if `lines`; -1 is the root. */
export class Items {
  constructor(profile, kind, others, lines, rootName) {
    this.profile = profile;
    this.kind = kind;
    this.others = others;
    this.lines = lines;
    this.rootName = rootName;
    this.functionOf = functionOfItem(profile, lines);
    this.styles = new Map();
    // Handed to others as functions.
    this.searched = (item) => `${this.name(item)} ${this.place(item)}`;
    this.identity = (item) => identityOf(profile, this.functionOf(item)) + (lines ? `\n${profile.frames.line[item]}` : "");
  }

  /** Its full name. */
  name(item) {
    if (item < 0) return this.rootName;
    const name = this.profile.functionName(this.functionOf(item));
    const line = this.lines ? this.profile.frames.line[item] : 0;
    return line ? `${name}:${line}` : name;
  }

  /** The end of its name: the method, the line. */
  shortName(item) {
    const name = this.name(item);
    return item < 0 ? name : name.slice(name.lastIndexOf(".") + 1) || name;
  }

  /** File and line. */
  place(item) {
    if (item < 0) return "";
    const { strings, functions, frames } = this.profile;
    if (!this.lines || !frames.line[item]) return this.profile.place(this.functionOf(item));
    return `${strings[functions.file[this.functionOf(item)]]}:${frames.line[item]}`;
  }

  /** Name of its function for links. */
  functionIdentity(item) {
    return itemName(identityOf(this.profile, this.functionOf(item)));
  }

  /** How its boxes look: a family of colours for each kind of code, a shade for each name. */
  style(item) {
    let style = this.styles.get(item);
    if (!style) this.styles.set(item, (style = this.#style(item)));
    return style;
  }

  /** The numbers of a node, for a tooltip, a dock, and in one sentence. */
  describe(tree, node) {
    const { kind } = this;
    const item = tree.item[node];
    const [weight, samples] = tree.total;
    const [self] = tree.self;
    const lines = [];
    const add = (what, value) => value && lines.push([what, value]);
    const of = (value) => `${amount(value, kind.unit)} (${share(value, weight[0])})`;
    add("at", this.place(item));
    add(`${kind.label} total`, of(weight[node]));
    add(`${kind.label} self`, of(self[node]));
    this.others.forEach((other, at) => add(`${other.label} total`, amount(tree.total[2 + at][node], other.unit)));
    if (samples[0] > 0) {
      add("samples", `${kind.isCounted ? "" : "about "}${count(samples[node])} of ${count(samples[0])}`);
      if (node) add("share, 95 % sure", intervalText(samples[node], samples[0]));
    }
    if (item >= 0) add("code", CATEGORIES[this.profile.category[this.functionOf(item)]]);
    const spoken = `${shortened(this.name(item), TITLE_LENGTH)}, total ${of(weight[node])}, self ${of(self[node])}`;
    return { title: shortened(this.name(item), TITLE_LENGTH), lines, spoken };
  }

  /** The same for boxes too narrow to be drawn one by one. */
  describeMany(tree, number, weight) {
    return {
      title: `${count(number)} narrow boxes`,
      lines: [
        [`${this.kind.label} total`, `${amount(weight, this.kind.unit)} (${share(weight, tree.weight[0])})`],
        ["double click", "zooms in"],
      ],
    };
  }

  #style(item) {
    if (item < 0) return { fill: "all", isHatched: false };
    const row = this.functionOf(item);
    const category = this.profile.category[row];
    const name = this.profile.functionName(row);
    let sum = 0;
    for (let at = Math.min(name.length, HASHED_LENGTH) - 1; at >= 0; at--) sum = (sum * 31 + name.charCodeAt(at)) | 0;
    return { fill: `${FAMILIES[category]}${Math.abs(sum) % SHADES}`, isHatched: category === NO_CODE };
  }
}

/** All that tells a function from others. */
function identityOf(profile, row) {
  return `${profile.functionName(row)}\n${profile.strings[profile.functions.file[row]]}\n${profile.functions.line[row]}`;
}

/** The function of this name for links, or -1. */
export function functionNamed(profile, name) {
  for (let row = 1; name && row < profile.functionCount; row++) {
    if (itemName(identityOf(profile, row)) === name) return row;
  }
  return -1;
}

/** What the colours of boxes mean. */
export function legend() {
  return h(
    "span",
    { class: "legend" },
    [APPLICATION, LIBRARY, STANDARD, NO_CODE].map((category) =>
      h("span", {}, h("span", { class: `swatch ${FAMILIES[category]}` }), CATEGORIES[category]),
    ),
  );
}
