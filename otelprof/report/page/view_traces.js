// The slowest traces and endpoints; a trace that is chosen opens as a waterfall.

import { causesOf, WAITING } from "./causes.js";
import { fill, h } from "./dom.js";
import { amount, count, duration, intervalText, isFew, share, shortened, time } from "./format.js";
import { bar, legend } from "./ledger.js";
import { OUTSIDE } from "./spans.js";
import { Table } from "./table.js";
import { TraceView } from "./view_trace.js";

const NAME_LENGTH = 120;
const SHORT_LENGTH = 60;
const ID_LENGTH = 8;

export class TracesView {
  constructor(app) {
    this.app = app;
    this.trace = new TraceView(app);
    this.overview = h("div", { class: "view" });
    this.element = h("div", { class: "whole" }, this.overview, this.trace.element);
  }

  update() {
    const isOpen = this.app.state.trace !== "";
    this.overview.hidden = isOpen;
    this.trace.element.hidden = !isOpen;
    if (isOpen) this.trace.update();
    else this.#overview();
  }

  step(direction) {
    this.trace.step(direction);
  }

  restyle() {
    this.trace.restyle();
  }

  #overview() {
    const { app } = this;
    if (this.shown === app.kind && this.link === app.link({ trace: "" })) return;
    [this.shown, this.link] = [app.kind, app.link({ trace: "" })];
    const { spans } = app;
    fill(
      this.overview,
      spans.size === 0 &&
        h("p", { class: "notice" }, "No spans were recorded beside this profile: all samples are in the flame graph."),
      h("h2", {}, "Endpoints"),
      h("p", { class: "faint" }, "Spans by which requests and jobs entered the process, with all spans below them. A name opens its flame graph. Bars are shares of the duration, not what was when."),
      legend(),
      this.#endpoints().element,
      h("h2", {}, "Slowest traces"),
      this.#traces().element,
      h("h2", {}, "Samples outside of recorded spans"),
      this.#outside(),
    );
  }

  #endpoints() {
    const { app } = this;
    const { spans, profile } = app;
    const names = new Map(spans.endpoints.map((endpoint) => [endpoint.name, endpoint]));
    const endpointOf = (span) => (spans.countsFor(span, spans.entry[span]) ? names.get(spans.name(spans.entry[span])) : undefined);
    const causes = causesOf(profile, spans, app.kind, endpointOf);
    const took = (name, title, pick) => ({ name, title, value: pick, text: (row) => (Number.isNaN(pick(row)) ? "–" : duration(pick(row))) });
    const table = new Table({
      label: "Endpoints",
      columns: [
        {
          name: "endpoint",
          isText: true,
          value: (row) => row.name,
          text: (row) => h("a", { href: app.scopeLink(`endpoint:${row.name}`), class: "name" }, shortened(row.name, NAME_LENGTH)),
        },
        { name: "requests", value: (row) => row.spans.length, text: (row) => count(row.spans.length) },
        { name: "errors", value: (row) => row.errors, text: (row) => (row.errors ? h("span", { class: "error" }, count(row.errors)) : "") },
        took("p50", "half of the requests took at most so long", (row) => row.p50),
        took("p95", "95 % of the requests took at most so long", (row) => row.p95),
        took("slowest", "the slowest request", (row) => row.max),
        took("mean", "the mean duration", (row) => row.mean),
        took("CPU / request", "CPU time, sampled in it and below, by request", (row) => row.cpu / row.spans.length),
        took("waiting / request", "no thread was sampled in it or below", (row) => row.waiting / row.spans.length),
        { name: "where the time went", isText: true, text: (row) => bar({ ...row, duration: row.total }) },
        {
          name: `mostly in (${app.kind.label})`,
          isText: true,
          text: (row) => mostlyIn(profile, causes.get(row)),
        },
      ],
      sort: "mean",
    });
    table.show(spans.endpoints);
    return table;
  }

  #traces() {
    const { app } = this;
    const { spans } = app;
    const of = (row) => `${spans.traceId(row.root)}:${spans.id(row.root)}`;
    const table = new Table({
      label: "Slowest traces",
      columns: [
        {
          name: "trace",
          isText: true,
          value: (row) => spans.name(row.root),
          text: (row) => [
            h("a", { href: app.link({ trace: of(row), scope: `span:${of(row)}`, zoom: "", sel: "", own: false }), class: "name" }, shortened(spans.name(row.root), NAME_LENGTH)),
            " ",
            h("span", { class: "faint id", title: spans.traceId(row.root) }, spans.traceId(row.root).slice(0, ID_LENGTH)),
          ],
        },
        { name: "duration", value: (row) => row.duration, text: (row) => duration(row.duration) },
        { name: "CPU", value: (row) => row.cpu, text: (row) => duration(row.cpu) },
        { name: "on thread", title: "running or blocked", value: (row) => row.wall, text: (row) => duration(row.wall) },
        {
          name: "waiting",
          title: "no thread was sampled in it or below",
          value: (row) => row.waiting,
          text: (row) => (Number.isNaN(row.waiting) ? "–" : `${duration(row.waiting)} (${share(row.waiting, row.duration)})`),
        },
        { name: "where the time went", isText: true, text: (row) => bar(row) },
        { name: "spans", value: (row) => row.count, text: (row) => count(row.count) },
        { name: "errors", value: (row) => row.errors, text: (row) => (row.errors ? h("span", { class: "error" }, count(row.errors)) : "") },
        {
          name: "start",
          value: (row) => spans.columns.start_ns[row.root],
          text: (row) => h("span", { title: time(spans.columns.begin_unix_ms + spans.columns.start_ns[row.root] / 1e6) }, `+${duration(spans.columns.start_ns[row.root])}`),
        },
      ],
      sort: "duration",
    });
    table.show(spans.traces);
    return table;
  }

  #outside() {
    const { app } = this;
    const sums = new Map(OUTSIDE.map(([, span]) => [span, app.profile.kinds.map(() => 0)]));
    app.profile.kinds.forEach((kind, at) => {
      for (let row = 0; row < kind.span.length; row++) {
        const sum = sums.get(kind.span[row]);
        if (sum) sum[at] += kind.weight[row];
      }
    });
    return h(
      "ul",
      { class: "outside" },
      OUTSIDE.map(([name, span, title, why]) =>
        h(
          "li",
          {},
          h("a", { href: app.scopeLink(name) }, title),
          " ",
          app.profile.kinds.map((kind, at) => `${amount(sums.get(span)[at], kind.unit)} ${kind.label}`).join(", "),
          h("span", { class: "faint" }, ` ${why}`),
        ),
      ),
    );
  }
}

function mostlyIn(profile, cause) {
  if (!cause) return "–";
  const part = [
    ` ${share(cause.weight, cause.all)}`,
    cause.span && [" in ", named(cause.span)],
    cause.spanFunction > 0 && [" of ", named(shortName(profile, cause.spanFunction))],
  ];
  if (cause.function === WAITING) return h("span", {}, "waiting, not sampled", part);
  const name = profile.functionName(cause.function);
  const hits = (cause.count * cause.weight) / cause.sampled;
  const sure = cause.count > 0 ? `, 95 % sure: ${intervalText(hits, cause.count, cause.sampled / cause.all)}` : "";
  return h(
    "span",
    { title: `${shortened(name, NAME_LENGTH)} at ${shortened(profile.place(cause.function), NAME_LENGTH)}; share of the time on threads and waiting${sure}` },
    named(shortName(profile, cause.function)),
    part,
    isFew(cause.count) && h("span", { class: "faint" }, ` of ${count(cause.count)} samples`),
  );
}

function named(text) {
  return h("span", { class: "name" }, shortened(text, SHORT_LENGTH));
}

function shortName(profile, row) {
  return profile.functionName(row).split(".").slice(-2).join(".");
}
