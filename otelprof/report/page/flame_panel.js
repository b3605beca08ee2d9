// A flame graph of the samples that are looked at, with its legend, the way to what is zoomed into, and the numbers of a box.

import { fill, h, segmented } from "./dom.js";
import { FlameGraph } from "./flamegraph.js";
import { amount, count, duration, share, shortened } from "./format.js";
import { nodeName, nodeNamed } from "./identity.js";
import { Items, legend } from "./items.js";
import { search } from "./search.js";

const TITLE_LENGTH = 400;
const CRUMB_LENGTH = 40;

/** One panel. It reads the state of the app and writes zoom and selection back. */
export class FlamePanel {
  constructor(app, label) {
    this.app = app;
    this.graph = new FlameGraph({
      label: `${label}. Arrow keys move, Enter zooms, Escape goes back, S opens callers and callees.`,
      name: (item) => this.items.name(item),
      style: (item) => this.items.style(item),
      describe: (node) => this.items.describe(this.tree, node),
      describeMany: (number, weight) => this.items.describeMany(this.tree, number, weight),
      onselect: (node) => this.#selected(node),
      onzoom: (node) => this.#zoomed(node),
      onopen: (node) => this.#open(node),
    });
    this.tools = h("div", { class: "tools" });
    this.crumbs = h("nav", { class: "crumbs", "aria-label": "Zoomed into" });
    this.dock = h("div", { class: "dock", "aria-live": "off" });
    this.notice = h("div", { class: "notices" });
    this.element = h("section", { class: "panel flame" }, this.tools, this.notice, this.crumbs, this.graph.element, this.dock);
  }

  /** Show what the app's state asks for. */
  update() {
    const { state, profile, kind, scope } = this.app;
    const { tree } = this.app;
    this.items = new Items(profile, kind, this.app.others, state.lines, scope.title);
    if (tree !== this.tree || state.up !== this.graph.up) {
      this.tree = tree;
      this.graph.up = state.up;
      this.graph.show(tree);
      this.selected = "";
      this.zoomed = "";
      this.lost = false;
    }
    this.#restore(state);
    this.found = search(tree, state.q, this.items.searched);
    this.graph.highlight(this.found?.isMatch ?? null);
    this.#render(state);
  }

  /** Choose the next match of the search, or with -1 the one before. */
  step(direction) {
    const nodes = this.found?.nodes ?? [];
    if (!nodes.length) return;
    const at = nodes.findIndex((node) => node >= this.graph.selected);
    const isOnMatch = nodes[at] === this.graph.selected;
    const next = direction > 0 ? at + (isOnMatch ? 1 : 0) : (at < 0 ? nodes.length : at) - 1;
    const place = at < 0 && direction > 0 ? 0 : (next + nodes.length) % nodes.length;
    this.graph.select(nodes[place]);
  }

  #restore({ zoom, sel }) {
    if (zoom !== this.zoomed) {
      const node = nodeNamed(this.tree, zoom, this.items.identity);
      this.zoomed = zoom;
      this.lost = node < 0;
      this.graph.zoom(Math.max(0, node), { isSilent: true });
    }
    if (sel !== this.selected) {
      this.selected = sel;
      this.graph.select(Math.max(0, nodeNamed(this.tree, sel, this.items.identity)), { isSilent: true });
    }
  }

  #zoomed(node) {
    this.zoomed = nodeName(this.tree, node, this.items.identity);
    this.lost = false;
    this.app.set({ zoom: this.zoomed });
  }

  #selected(node) {
    this.selected = nodeName(this.tree, node, this.items.identity);
    this.app.set({ sel: this.selected }, { replace: true });
  }

  #open(node) {
    if (node) this.app.set({ view: "sandwich", fn: this.items.functionIdentity(this.tree.item[node]) });
  }

  #render(state) {
    const { app } = this;
    fill(
      this.tools,
      segmented("Boxes are", [[false, "functions"], [true, "lines"]], state.lines, (lines) => app.set({ lines, zoom: "", sel: "" })),
      segmented(
        "Callees are",
        [[false, "down", "icicle: callees below their callers"], [true, "up", "flame: callees above their callers"]],
        state.up,
        (up) => app.set({ up }),
      ),
      app.threadChoice(),
      h("span", { class: "spring" }),
      legend(),
    );
    fill(this.notice, this.#notices());
    fill(this.crumbs, this.#crumbs());
    this.graph.element.hidden = this.tree.isEmpty;
    fill(this.dock, this.#dock());
  }

  #notices() {
    const { app } = this;
    const notices = app.scopeNotices();
    if (this.lost) notices.push("The link zooms into a call path that these samples do not have.");
    if (this.found) {
      const { items, weight } = this.found;
      const all = this.tree.weight[0];
      return [
        h(
          "p",
          { class: "found", role: "status" },
          h("strong", {}, `${count(items)} ${items === 1 ? "match" : "matches"}: ${share(weight, all)}`),
          ` of what is shown (${amount(weight, app.kind.unit)} of ${amount(all, app.kind.unit)}, nested matches counted once)`,
        ),
        notices.map((text) => h("p", { class: "notice" }, text)),
      ];
    }
    return notices.map((text) => h("p", { class: "notice" }, text));
  }

  #crumbs() {
    const path = this.tree.path(this.graph.zoomed);
    if (path.length === 1) return [];
    return path.map((node) =>
      h(
        "button",
        { type: "button", onclick: () => this.graph.zoom(node), title: this.items.name(this.tree.item[node]) },
        shortened(this.items.shortName(this.tree.item[node]), CRUMB_LENGTH),
      ),
    );
  }

  #dock() {
    const node = this.graph.selected;
    if (this.tree.isEmpty) return [];
    const { title, lines } = this.items.describe(this.tree, node);
    const item = this.tree.item[node];
    const press = (text, key, action) => h("button", { type: "button", title: `key: ${key}`, onclick: action }, text);
    return [
      h(
        "div",
        { class: "dock-head" },
        h("span", { class: "name" }, shortened(title, TITLE_LENGTH)),
        node > 0 && [
          press("Zoom", "Enter", () => this.graph.zoom(node)),
          press("Callers and callees", "s", () => this.#open(node)),
          press("Find all", "/", () => this.app.set({ q: this.items.name(item) })),
          press("Copy name", "none", () => copy(this.items.name(item))),
        ],
      ),
      h(
        "dl",
        {},
        lines.map(([what, value]) => h("div", {}, h("dt", {}, what), h("dd", {}, value))),
      ),
    ];
  }
}

/** What is said where there is nothing to draw in a span. */
export function whyEmpty(app) {
  const { scope, kind, spans } = app;
  const period = kind.unit === "nanoseconds" && kind.period > 0 ? `, which is taken every ${duration(kind.period)}` : "";
  if (scope.row >= 0) {
    const took = duration(spans.columns.duration_ns[scope.row]);
    return `No ${kind.label} sample${period}, fell into this span of ${took}. Look at all spans of its name together.`;
  }
  return `There are no ${kind.label} samples here.`;
}

function copy(text) {
  // Where the clipboard cannot be had (a page from the disk in some browsers), a selection in a field still can.
  const field = h("textarea", { class: "unseen", value: text });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
