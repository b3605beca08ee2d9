// Where the time of a span went: on the CPU, on a thread but not on the CPU, waiting and not sampled.

import { h } from "./dom.js";
import { duration, share } from "./format.js";

export const LEGEND = [
  ["cpu", "on CPU"],
  ["blocked", "on a thread, not on CPU"],
  ["waiting", "waiting, not sampled"],
];

/** The parts of a ledger of `Spans.ledger` or of sums of them: [class, nanoseconds] each, as far as they are known. */
function parts({ cpu, wall, waiting, duration: all }) {
  const onThread = Math.min(wall || cpu, all);
  const onCpu = Math.min(cpu, onThread);
  return [
    ["cpu", onCpu],
    ["blocked", onThread - onCpu],
    ["waiting", Number.isNaN(waiting) ? 0 : Math.min(waiting, all - onThread)],
  ];
}

/** A bar of the shares. They are sums: they do not say when what was. */
export function bar(ledger) {
  const element = h("span", { class: "ledger", role: "img", "aria-label": inWords(ledger) });
  element.title = inWords(ledger);
  for (const [kind, ns] of parts(ledger)) {
    if (!(ns > 0)) continue;
    const part = h("span", { class: `part ${kind}` });
    part.style.width = `${(100 * ns) / ledger.duration}%`;
    element.append(part);
  }
  return element;
}

/** The same in words, with durations and shares. */
export function inWords(ledger) {
  const { duration: all, waiting, isParallel, hasOutlived } = ledger;
  const known = LEGEND.map(([kind, text], at) => {
    const ns = parts(ledger)[at][1];
    if (kind === "waiting" && Number.isNaN(waiting)) return "waiting not known without wall samples";
    return `${text} ${duration(ns)} (${share(ns, all)})`;
  });
  if (isParallel) known.push("threads ran side by side");
  if (hasOutlived) known.push("without spans below that ended later");
  return known.join(" · ");
}

/** What the colours and patterns of the bars mean. */
export function legend() {
  return h(
    "p",
    { class: "legend", title: "Shares of the duration: not when what was." },
    LEGEND.map(([kind, text]) => h("span", {}, h("span", { class: `swatch part ${kind}` }), text)),
  );
}
