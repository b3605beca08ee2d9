// What the report is made of: who took the samples, what is missing, and how to read it.

import { fill, h } from "./dom.js";
import { amount, count, shortened } from "./format.js";

const VALUE_LENGTH = 500;
const LOSSES = {
  span_unknown: "samples whose span could not be proved; they are here, under (span unknown)",
  span_raised: "samples whose span raised an error when asked for its ids; they are under (span unknown), too",
  torn: "passes that were given up; their time went to the next one",
  truncated: "stacks of which only the innermost frames are sure, since the thread went on meanwhile, or which are deeper than 1,024; they begin with (deeper frames not read)",
  overflow: "samples under (more stacks than the profiler keeps)",
  filtered: "samples that a filter has left out",
  label_values: "samples with a label that is (other)",
};
const NOTES = [
  "CPU is time on a processor. Wall is time on a thread, running or blocked. What a span took beyond its wall samples is waiting: its task was suspended, and no thread was sampled in it.",
  "A span with its child spans has all samples of the spans below it in this report. Its share of waiting is computed from those of its own process.",
  "“95 % sure” is where a share most likely lies, by the number of samples (Wilson's interval). Numbers of samples said with “about” are time divided by the distance of samples.",
  "Names in parentheses are no code: (frames elided), (deeper frames not read), (more stacks than the profiler keeps), (between samples), (threads that ended, or are not Python's). Their boxes are hatched.",
];

export class AboutView {
  constructor(app) {
    this.app = app;
    this.element = h("div", { class: "view about" });
  }

  update() {
    const { profile } = this.app;
    const rows = (pairs) => h("dl", { class: "facts" }, pairs.map(([what, value]) => [h("dt", {}, what), h("dd", {}, shortened(value, VALUE_LENGTH))]));
    const sums = profile.kinds.map((kind) => {
      const [weight, samples] = [kind.weight, kind.count].map((column) => column.reduce((sum, value) => sum + value, 0));
      const number = samples > 0 ? `${kind.isCounted ? "" : "about "}${count(samples)} samples, ` : "";
      return [kind.label, `${amount(weight, kind.unit)}: ${number}${count(kind.weight.length)} different stacks, spans and threads`];
    });
    fill(
      this.element,
      h("h2", {}, "What is in it"),
      rows([...sums, ["spans", count(this.app.spans.size)], ...profile.facts]),
      h("h2", {}, "What is missing"),
      profile.losses.length
        ? rows(profile.losses.map(([kind, reason, lost]) => [`${reason} (${kind})`, `${count(lost)} ${Object.hasOwn(LOSSES, reason) ? LOSSES[reason] : ""}`]))
        : h("p", {}, "Nothing was counted as lost."),
      h("h2", {}, "How to read it"),
      NOTES.map((note) => h("p", {}, note)),
    );
  }
}
