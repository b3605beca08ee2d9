// What the page shows, as text after the `#` of its address: a link leads to the same view again.

export const VIEWS = ["traces", "flame", "functions", "sandwich", "about"];
export const THEMES = ["auto", "light", "dark"];
const VERSION = "1";

/** What each part means when it is not in the address. `view` and `kind` are chosen by what there is. */
export const DEFAULTS = Object.freeze({
  view: "",
  kind: "",
  scope: "", // see scope.js
  trace: "", // the trace whose waterfall is open, by the id of one of its spans: TRACE:SPAN
  own: false, // only the span itself, without those below it
  lines: false, // a box for each line, not for each function
  up: false, // callees above their callers
  zoom: "", // name of a node, see identity.js
  sel: "", // name of a node
  q: "", // what is searched
  fn: "", // name of the function of the sandwich
  sort: "", // column of the functions' table
  thread: "", // only samples of it
  theme: "auto",
});

/** The state that the text after `#` stands for. What is not understood is left out. */
export function parse(fragment) {
  const state = { ...DEFAULTS };
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    if (!Object.hasOwn(DEFAULTS, name)) continue;
    state[name] = typeof DEFAULTS[name] === "boolean" ? value === "1" : value;
  }
  if (!VIEWS.includes(state.view)) state.view = "";
  if (!THEMES.includes(state.theme)) state.theme = "auto";
  return state;
}

/** The text after `#` for `state`: only what differs from the defaults. */
export function format(state) {
  const parts = new URLSearchParams({ v: VERSION });
  for (const [name, value] of Object.entries(state)) {
    if (value !== DEFAULTS[name]) parts.set(name, value === true ? "1" : String(value));
  }
  return `#${parts}`;
}
