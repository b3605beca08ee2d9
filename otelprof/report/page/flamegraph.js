// A flame graph on a canvas: draws a Tree, lets a node be chosen by mouse or keyboard, and zooms into it.
//
// It knows nothing of profiles: what nodes are called, look like and mean comes from its options. The canvas is as large as what is
// seen of it, so deep stacks cost nothing, and draws only boxes that are wider than a pixel; narrower ones are drawn together.

import { h } from "./dom.js";
import { keyAction, MOVES } from "./flamegraph_keys.js";
import { Painter, ROW } from "./flamegraph_paint.js";

const ZOOM_MS = 120;
const WHEEL_FACTOR = 1.0015;

/** One flame graph in an element of its own. */
export class FlameGraph {
  /**
   * @param options
   *   label: what the graph is, for those who do not see it
   *   name(item): what stands in its boxes
   *   style(item): {fill, isHatched} of its boxes
   *   describe(node): {title, lines: [[what, value], …], spoken} for the tooltip and screen readers
   *   describeMany(count, weight): the same for narrow boxes that are drawn as one
   *   onselect(node), onzoom(node), onopen(node): the node was chosen, zoomed into, asked for more of
   *   up: whether callees stand above their callers
   *   hasRoot: false where the root says nothing and is not drawn
   */
  constructor(options) {
    this.options = options;
    this.tree = null;
    this.up = options.up ?? false;
    this.top = options.hasRoot === false ? 1 : 0; // the node at the top: the root, or its only child
    this.zoomed = 0;
    this.selected = 0;
    this.hovered = -1;
    this.found = null;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.space = h("div", { class: "fg-space" }, this.canvas);
    this.tooltip = h("div", { class: "fg-tooltip", hidden: true });
    this.current = [0, 1].map((n) => h("div", { role: "treeitem", id: `fg-${nextId++}-${n}` }));
    this.scroller = h("div", { class: "fg-scroller" }, this.space);
    this.element = h(
      "div",
      {
        class: "fg",
        role: "tree",
        tabIndex: 0,
        "aria-label": options.label,
        onkeydown: (event) => this.#key(event),
        onfocus: () => this.draw(),
        onblur: () => this.draw(),
      },
      this.scroller,
      h("div", { class: "unseen" }, this.current),
      this.tooltip,
    );
    this.painter = new Painter(this.canvas);
    this.#listen();
  }

  /** Show `tree`, all of it, with nothing chosen. */
  show(tree) {
    this.tree = tree;
    this.found = null;
    this.hovered = -1;
    this.zoomed = this.top;
    this.selected = this.top;
    this.view = [0, tree.weight[0]];
    this.space.style.height = `${this.#rowCount * ROW}px`;
    this.#measure();
    this.scroller.scrollTop = this.up ? this.scroller.scrollHeight : 0;
    this.draw();
  }

  get #rowCount() {
    return this.tree.rows.length - this.top;
  }

  /** What is empty above the rows: callers stand on the ground. */
  get #gap() {
    return this.up ? Math.max(0, this.scroller.clientHeight - this.#rowCount * ROW) : 0;
  }

  #rowOf(depth) {
    return this.up ? this.tree.rows.length - 1 - depth : depth - this.top;
  }

  #depthOf(row) {
    return this.up ? this.tree.rows.length - 1 - row : row + this.top;
  }

  /** Show nodes with `isMatch[node]`, and others dimmed; all alike where it is null. */
  highlight(isMatch) {
    this.found = isMatch;
    this.draw();
  }

  /** Make `node` as wide as there is room. */
  zoom(node, { isSilent = false } = {}) {
    const { start, weight } = this.tree;
    this.zoomed = node;
    this.#moveTo([start[node], start[node] + weight[node]]);
    if (!isSilent) this.options.onzoom?.(node);
  }

  /** Choose `node`, and bring its row into sight. */
  select(node, { isSilent = false } = {}) {
    this.selected = node;
    this.#reveal(node);
    this.#announce();
    this.draw();
    if (!isSilent) this.options.onselect?.(node);
  }

  /** Draw again as soon as the browser paints; colours are read anew if `restyled`. */
  draw({ restyled = false } = {}) {
    if (restyled) this.painter.restyle();
    if (this.isWaiting || !this.tree) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.paint();
    });
  }

  /** Draw now. */
  paint() {
    if (!this.tree || !this.scroller.clientWidth) return;
    this.painter.paint({
      tree: this.tree,
      view: this.view,
      scrolled: this.scroller.scrollTop - this.#gap,
      rowCount: this.#rowCount,
      rowOf: (depth) => this.#rowOf(depth),
      depthOf: (row) => this.#depthOf(row),
      found: this.found,
      selected: this.selected,
      hovered: this.hovered,
      isFocused: document.activeElement === this.element,
      name: this.options.name,
      style: this.options.style,
    });
  }

  /** Stop watching its size. */
  close() {
    this.observer.disconnect();
  }

  #listen() {
    this.observer = new ResizeObserver(() => {
      this.#measure(); // empties the canvas: before this frame is shown it is full again
      this.paint();
    });
    this.observer.observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    this.canvas.addEventListener("mousemove", (event) => this.#hover(event));
    this.canvas.addEventListener("mouseleave", () => this.#hover(null));
    this.canvas.addEventListener("click", (event) => this.#click(event));
    this.canvas.addEventListener("dblclick", (event) => this.#enter(event));
    this.canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #measure() {
    this.painter.resize(this.scroller.clientWidth, this.scroller.clientHeight);
  }

  #hitBy(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.painter.hit(event.clientX - box.left, event.clientY - box.top);
  }

  #click(event) {
    const hit = this.#hitBy(event);
    if (!hit) return;
    const { tree } = this;
    this.select(hit.node);
    // What stands around the zoomed node is a way back: one click is enough.
    if (hit.node < this.zoomed && tree.end[hit.node] >= tree.end[this.zoomed]) this.zoom(hit.node);
  }

  #enter(event) {
    const hit = this.#hitBy(event);
    if (hit?.last) this.#moveTo(this.#rangeOf(hit));
    else if (hit) this.zoom(hit.node);
  }

  #rangeOf({ node, last }) {
    return [this.tree.start[node], this.tree.start[last] + this.tree.weight[last]];
  }

  #hover(event) {
    const hit = event && this.#hitBy(event);
    const node = hit && !hit.last ? hit.node : -1;
    if (node !== this.hovered) {
      this.hovered = node;
      this.draw();
    }
    this.tooltip.hidden = !hit;
    if (hit) this.#tip(hit, event);
  }

  #tip(hit, event) {
    const { title, lines } = hit.last ? this.options.describeMany(hit.count, hit.weight) : this.options.describe(hit.node);
    this.tooltip.replaceChildren(
      h("div", { class: "fg-title" }, title),
      h(
        "dl",
        {},
        lines.map(([what, value]) => [h("dt", {}, what), h("dd", {}, value)]),
      ),
    );
    const gap = 14;
    const box = this.tooltip.getBoundingClientRect();
    const left = event.clientX + gap + box.width > innerWidth ? event.clientX - gap - box.width : event.clientX + gap;
    const top = event.clientY + gap + box.height > innerHeight ? event.clientY - gap - box.height : event.clientY + gap;
    this.tooltip.style.left = `${Math.max(4, left)}px`;
    this.tooltip.style.top = `${Math.max(4, top)}px`;
  }

  #wheel(event) {
    if (!(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { tree } = this;
    const [from, to] = this.view;
    const box = this.canvas.getBoundingClientRect();
    const at = from + ((event.clientX - box.left) / box.width) * (to - from);
    const factor = WHEEL_FACTOR ** event.deltaY;
    this.view = [Math.max(0, at - (at - from) * factor), Math.min(tree.weight[0], at + (to - at) * factor)];
    this.draw();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.tree) return;
    const action = keyAction(event.key, this.up);
    if (!action) return;
    if (action in MOVES) this.select(Math.max(this.top, MOVES[action](this.tree, this.selected)));
    else if (action === "zoom") this.zoom(this.selected);
    else if (action === "reset") this.zoom(this.top);
    else if (action === "open") this.options.onopen?.(this.selected);
    else if (this.#isWhole) return;
    else this.zoom(Math.max(this.top, this.tree.parent[this.zoomed]));
    event.preventDefault();
    event.stopPropagation();
  }

  get #isWhole() {
    return this.zoomed === this.top && this.view[0] === 0 && this.view[1] === this.tree.weight[0];
  }

  #moveTo(view) {
    const from = this.view;
    const begin = performance.now();
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const move = (now) => {
      const part = isStill ? 1 : Math.min(1, Math.max(0, (now - begin) / ZOOM_MS));
      const eased = 1 - (1 - part) ** 3;
      this.view = part === 1 ? view : from.map((at, side) => at + (view[side] - at) * eased);
      this.paint();
      if (part < 1 && this.moving === move) requestAnimationFrame(move);
    };
    this.moving = move;
    if (isStill) move(begin);
    else requestAnimationFrame(move);
  }

  #reveal(node) {
    const { tree, scroller } = this;
    const row = this.#rowOf(tree.depth[node]);
    const top = row * ROW + this.#gap;
    const bottom = top + ROW;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (bottom > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = bottom - scroller.clientHeight;
    // A node outside of what is zoomed into would be chosen unseen.
    const end = tree.start[node] + tree.weight[node];
    if (tree.start[node] >= this.view[1] || end <= this.view[0]) this.zoom(this.top);
  }

  /** Tell screen readers of the chosen node: by turns in two elements, so that each change is one. */
  #announce() {
    this.current.reverse();
    const [item] = this.current;
    const { tree, selected } = this;
    const siblings = selected ? tree.children(tree.parent[selected]) : [0];
    item.textContent = this.options.describe(selected).spoken;
    item.setAttribute("aria-level", String(tree.depth[selected] + 1));
    item.setAttribute("aria-posinset", String(siblings.indexOf(selected) + 1));
    item.setAttribute("aria-setsize", String(siblings.length));
    item.setAttribute("aria-selected", "true");
    this.element.setAttribute("aria-activedescendant", item.id);
  }
}

let nextId = 0;
