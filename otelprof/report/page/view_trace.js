// One trace: its waterfall, and of the chosen span where its time went and the flame graph of exactly that span.

import { fill, h } from "./dom.js";
import { FlamePanel, whyEmpty } from "./flame_panel.js";
import { count, duration, shortened, time } from "./format.js";
import { bar, inWords, legend } from "./ledger.js";

const KINDS = ["", "internal", "server", "client", "producer", "consumer"];
const NAME_LENGTH = 100;
const ROWS_AT_ONCE = 300;
const INDENT_PX = 14;
const MOST_INDENT = 12; // deeper spans stand no further to the right
const MIN_BAR = 0.3; // percent of the width, so that a short span is seen

export class TraceView {
  constructor(app) {
    this.app = app;
    this.panel = new FlamePanel(app, "Flame graph of the chosen span");
    this.waterfall = h("div", { class: "waterfall", role: "listbox", "aria-label": "Spans of the trace", onkeydown: (event) => this.#key(event) });
    this.head = h("div", { class: "trace-head" });
    this.detail = h("div", { class: "span-detail" });
    this.element = h("div", { class: "view tall trace" }, this.head, this.waterfall, this.detail, this.panel.element);
  }

  update() {
    const { app } = this;
    const { spans, state } = app;
    const opened = spans.find(...state.trace.split(":"));
    this.panel.element.hidden = opened < 0;
    if (opened < 0) {
      fill(this.head, this.#back(), h("p", { class: "notice" }, `The link leads to trace ${state.trace}, which is not in this report.`));
      fill(this.waterfall);
      fill(this.detail);
      return;
    }
    const rows = spans.trace(opened);
    if (this.opened !== state.trace) this.limit = ROWS_AT_ONCE;
    this.opened = state.trace;
    this.#head(rows[0][0], rows.length);
    this.#waterfall(rows);
    this.#detail(app.scope.row);
    this.panel.update();
  }

  step(direction) {
    this.panel.step(direction);
  }

  restyle() {
    this.panel.graph.draw({ restyled: true });
  }

  #back() {
    return h("a", { href: this.app.link({ trace: "", scope: "", own: false, zoom: "", sel: "" }) }, "← all traces");
  }

  #head(root, number) {
    const { spans } = this.app;
    const { columns } = spans;
    fill(
      this.head,
      this.#back(),
      h("h2", {}, shortened(spans.name(root), NAME_LENGTH)),
      h("span", { class: "faint id" }, `trace ${spans.traceId(root)}`),
      h("span", { class: "faint" }, `${count(number)} spans · ${time(columns.begin_unix_ms + columns.start_ns[root] / 1e6)}`),
      h("span", { class: "spring" }),
      legend(),
    );
  }

  #waterfall(rows) {
    const { spans } = this.app;
    const begin = rows.reduce((earliest, [row]) => Math.min(earliest, spans.columns.start_ns[row]), Infinity);
    const end = rows.reduce((latest, [row]) => Math.max(latest, spans.end(row)), begin);
    const shown = rows.slice(0, this.limit);
    const hadFocus = this.waterfall.contains(document.activeElement);
    fill(
      this.waterfall,
      shown.map(([row, depth]) => this.#row(row, depth, begin, Math.max(1, end - begin))),
      rows.length > shown.length &&
        h("button", { type: "button", class: "more", onclick: () => this.#grow(rows) }, `${count(shown.length)} of ${count(rows.length)} spans shown: show more`),
    );
    const chosen = this.waterfall.querySelector("[aria-selected=true]");
    if (hadFocus) chosen?.focus();
    chosen?.scrollIntoView({ block: "nearest" });
  }

  #grow(rows) {
    this.limit *= 10;
    this.#waterfall(rows);
  }

  #row(row, depth, begin, width) {
    const { app } = this;
    const { spans } = app;
    const ledger = spans.ledger(row, true);
    const isChosen = row === app.scope.row;
    const span = bar(ledger);
    span.style.left = `${(100 * (spans.columns.start_ns[row] - begin)) / width}%`;
    span.style.width = `${Math.max(MIN_BAR, (100 * spans.columns.duration_ns[row]) / width)}%`;
    const name = h("span", { class: "name" }, shortened(spans.name(row), NAME_LENGTH));
    name.style.paddingLeft = `${Math.min(depth, MOST_INDENT) * INDENT_PX}px`;
    return h(
      "div",
      {
        class: "span-row",
        role: "option",
        tabIndex: isChosen ? 0 : -1,
        "aria-selected": String(isChosen),
        "aria-label": `${shortened(spans.name(row), NAME_LENGTH)}, level ${depth + 1}, ${duration(ledger.duration)}, ${inWords(ledger)}`,
        onclick: () => this.#choose(row),
      },
      name,
      spans.isError(row) && h("span", { class: "error" }, "error"),
      h("span", { class: "lane" }, span),
      h("span", { class: "took" }, duration(ledger.duration)),
    );
  }

  #choose(row) {
    const { spans } = this.app;
    this.app.set({ scope: `span:${spans.traceId(row)}:${spans.id(row)}`, zoom: "", sel: "" });
  }

  #key(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const to = step && event.target[step];
    if (to?.getAttribute("role") !== "option") return;
    event.preventDefault();
    to.focus();
    to.click();
  }

  #detail(row) {
    const { app } = this;
    const { spans, state } = app;
    if (row < 0) {
      fill(this.detail, h("p", { class: "faint" }, "Choose a span to see where its time went."));
      return;
    }
    const { columns } = spans;
    const { strings } = app.profile;
    const ledger = spans.ledger(row, !state.own);
    const what = state.own ? "that no child span covers" : "with its child spans in this process";
    const facts = [KINDS[columns.kind[row]], strings[columns.route[row]], strings[columns.thread[row]] && `ended in thread ${strings[columns.thread[row]]}`];
    fill(
      this.detail,
      h(
        "p",
        {},
        h("strong", { class: "name" }, shortened(spans.name(row), NAME_LENGTH)),
        h("span", { class: "faint" }, [...facts.filter(Boolean).map((fact) => shortened(fact, NAME_LENGTH)), `span ${spans.id(row)}`].join(" · ")),
        h("a", { href: app.scopeLink(`name:${spans.name(row)}`) }, "all spans of this name"),
      ),
      h("p", {}, h("strong", {}, duration(ledger.duration)), ` ${what}: ${inWords(ledger)}`),
      this.#empty(),
    );
  }

  #empty() {
    return this.app.tree.isEmpty && h("p", { class: "notice" }, whyEmpty(this.app));
  }
}
