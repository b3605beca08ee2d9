// Which samples are looked at: all, those of a span, of spans of a name, of a trace, or those of no span.

import { OUTSIDE } from "./spans.js";

/**
 * A choice of samples. It is written as `span:TRACE:SPAN`, `endpoint:NAME`, `name:NAME`, `trace:TRACE`, `none`, `unknown`, or
 * `unrecorded`, and the empty text is all samples.
 */
export class Scope {
  /** @param text as above. @param withChildren whether spans below count, too. */
  constructor(spans, text, withChildren) {
    this.text = text;
    this.withChildren = withChildren;
    this.row = -1; // of the span, if it is one
    this.isFound = true;
    this.title = "Whole profile";
    this.note = "";
    this.roots = null; // the spans, or null for those outside of spans or all
    this.outside = null; // what samples have in place of a span
    this.#read(spans, text);
    this.members = this.roots && membersOf(spans, this.roots, withChildren);
  }

  /** Whether there are spans that can be looked at with and without those below them. */
  get hasSpans() {
    return this.roots !== null;
  }

  /** Whether a sample of this span belongs to it. */
  accepts(span) {
    if (this.outside !== null) return span === this.outside;
    return this.members === null || (span >= 0 && this.members[span] === 1);
  }

  #read(spans, text) {
    if (!text) return;
    const outside = OUTSIDE.find(([name]) => name === text);
    if (outside) {
      [, this.outside, this.title, this.note] = outside;
      return;
    }
    const [how, rest] = [text.slice(0, text.indexOf(":")), text.slice(text.indexOf(":") + 1)];
    if (how === "span") {
      this.row = spans.find(...rest.split(":"));
      this.roots = this.row < 0 ? [] : [this.row];
      this.title = this.row < 0 ? rest : spans.name(this.row);
    } else if (how === "endpoint") {
      this.roots = spans.endpoints.find((endpoint) => endpoint.name === rest)?.spans ?? [];
      this.title = `${rest} (${this.roots.length} requests)`;
    } else if (how === "trace" || how === "name") {
      const textOf = how === "trace" ? (row) => spans.traceId(row) : (row) => spans.name(row);
      this.roots = [];
      for (let row = 0; row < spans.size; row++) if (textOf(row) === rest) this.roots.push(row);
      this.title = how === "trace" ? `trace ${rest}` : `all spans ${rest} (${this.roots.length})`;
    } else {
      this.roots = [];
      this.title = text;
    }
    this.isFound = this.roots.length > 0;
  }
}

function membersOf(spans, roots, withChildren) {
  const members = new Uint8Array(spans.size);
  for (const row of roots) {
    if (withChildren) for (const below of spans.family(row)) members[below] = 1;
    else members[row] = 1;
  }
  return members;
}
