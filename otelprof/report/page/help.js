// The keys, in a dialog.

import { h } from "./dom.js";

const KEYS = [
  ["Arrow keys", "in a flame graph: to a caller, a callee, a neighbour; in a waterfall: to the span above or below"],
  ["Home, End", "to the heaviest, the lightest neighbour"],
  ["Enter", "zoom into the chosen box; in the search field: next match"],
  ["Esc, Backspace", "zoom out by one box"],
  ["0", "zoom out of all"],
  ["s", "callers and callees of the chosen box"],
  ["/", "search"],
  ["n, N", "next match, the one before"],
  ["1 … 5", "the views"],
  ["c, w", "CPU time, wall time"],
  ["o", "with or without child spans"],
  ["l", "boxes are functions or lines"],
  ["u", "callees below or above their callers"],
  ["t", "theme"],
  ["Ctrl + wheel", "zoom to the pointer"],
  ["click, double click", "choose a box, zoom into it"],
];

/** The dialog, closed. */
export function helpDialog() {
  const dialog = h(
    "dialog",
    { "aria-label": "Keys" },
    h("h2", {}, "Keys"),
    h("dl", { class: "keys" }, KEYS.map(([key, does]) => [h("dt", {}, key), h("dd", {}, does)])),
    h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
  );
  return dialog;
}
