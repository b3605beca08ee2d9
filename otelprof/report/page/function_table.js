// The functions of the samples that are looked at, as a table.

import { h } from "./dom.js";
import { amount, intervalText, share, shortened } from "./format.js";
import { Items } from "./items.js";
import { matcher } from "./search.js";
import { Table } from "./table.js";
import { itemTimes } from "./tree.js";

const NAME_LENGTH = 200;

/** The rows: functions with any time, [item, times] each; only those that the search finds. */
export function functionRows(app) {
  const { tree, state, profile, kind } = app;
  const itemCount = state.lines ? profile.frames.function.length : profile.functionCount;
  const times = itemTimes(tree, itemCount);
  const items = new Items(profile, kind, app.others, state.lines, app.scope.title);
  const matches = matcher(state.q);
  const rows = [];
  for (let item = 0; item < itemCount; item++) {
    if (times.total.some((total) => total[item] > 0) && (!matches || matches(items.searched(item)))) rows.push(item);
  }
  return { rows, times, items };
}

/** A table of them; `isShort` leaves room beside it. */
export class FunctionTable {
  constructor(app, { isShort = false } = {}) {
    this.app = app;
    this.isShort = isShort;
    this.element = h("div", {});
  }

  update() {
    const { app } = this;
    const { rows, times, items } = functionRows(app);
    this.found = { rows, times, items };
    const table = new Table({
      label: "Functions",
      columns: this.#columns(times, items),
      sort: `${app.kind.name} ${this.isShort ? "total" : "self"}`,
      onsort: (sort) => app.set({ sort }, { replace: true }),
      rowClass: (item) => (items.functionIdentity(item) === app.state.fn && this.isShort ? "chosen" : ""),
    });
    table.show(rows, app.state.sort);
    this.element.replaceChildren(table.element);
  }

  #columns(times, items) {
    const { app } = this;
    const [all, samples] = app.tree.total.map((column) => column[0]);
    const column = (kind, what, measure) => ({
      name: `${kind.name} ${what}`,
      label: `${kind.label} ${what}`,
      value: (item) => times[what][measure][item],
      text: (item) => amount(times[what][measure][item], kind.unit),
    });
    const percent = (what) => ({
      name: `${what} share`,
      title: `of all ${app.kind.label} samples that are looked at`,
      value: (item) => times[what][0][item],
      text: (item) => h("span", { title: `95 % sure: ${intervalText(times[what][1][item], samples)}` }, share(times[what][0][item], all)),
    });
    const name = {
      name: "function",
      isText: true,
      value: (item) => items.name(item),
      text: (item) => [
        h("a", { href: app.link({ view: "sandwich", fn: items.functionIdentity(item) }), class: "name" }, shortened(items.name(item), NAME_LENGTH)),
        !this.isShort && h("div", { class: "faint place" }, shortened(items.place(item), NAME_LENGTH)),
      ],
    };
    if (this.isShort) return [column(app.kind, "total", 0), percent("total"), name];
    const others = app.others.flatMap((kind, at) => [column(kind, "self", 2 + at), column(kind, "total", 2 + at)]);
    return [column(app.kind, "self", 0), percent("self"), column(app.kind, "total", 0), percent("total"), ...others, name];
  }
}
