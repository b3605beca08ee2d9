// Tables that are sorted by a click and grow on demand.

import { fill, h } from "./dom.js";

const ROWS_AT_ONCE = 100;

/** A table of `columns`: {name, text(row), value(row) to sort by, title, isText}; the first sorts at the beginning. */
export class Table {
  /** @param options label, columns, sort: "name" or "-name" for the smallest first, onsort(sort), rowClass(row). */
  constructor(options) {
    this.options = options;
    this.rows = [];
    this.limit = ROWS_AT_ONCE;
    this.head = h("tr", {});
    this.body = h("tbody", {});
    this.more = h("button", { type: "button", class: "more", onclick: () => this.#grow() });
    this.element = h(
      "div",
      { class: "table" },
      h("table", { "aria-label": options.label }, h("thead", {}, this.head), this.body),
      this.more,
    );
    this.sort = options.sort ?? options.columns.find((column) => column.value).name;
  }

  /** Show `rows`, sorted. */
  show(rows, sort) {
    if (sort && this.options.columns.some(({ name }) => name === sort.replace(/^-/, ""))) this.sort = sort;
    this.rows = rows;
    this.#render();
  }

  #grow() {
    this.limit *= 10;
    this.#render();
  }

  #render() {
    const { columns, rowClass } = this.options;
    const isUp = this.sort.startsWith("-");
    const by = columns.find((column) => column.name === this.sort.replace(/^-/, ""));
    fill(this.head, columns.map((column) => this.#heading(column, column === by, isUp)));
    const sign = (isUp ? 1 : -1) * (by.isText ? -1 : 1);
    const sorted = this.rows
      .map((row) => [by.value(row), row])
      .sort(([a], [b]) => sign * compare(a, b))
      .slice(0, this.limit);
    fill(
      this.body,
      sorted.map(([, row]) =>
        h(
          "tr",
          { class: rowClass?.(row) },
          columns.map((column) => h("td", { class: column.isText ? "text" : "" }, column.text(row))),
        ),
      ),
    );
    const rest = this.rows.length - sorted.length;
    this.more.hidden = rest === 0;
    this.more.textContent = `${sorted.length} of ${this.rows.length} shown: show more`;
  }

  #heading(column, isSorted, isUp) {
    const order = !isSorted ? "none" : isUp === Boolean(column.isText) ? "descending" : "ascending";
    const mark = { none: "", ascending: " ↑", descending: " ↓" }[order];
    const press = () => {
      this.sort = isSorted && !isUp ? `-${column.name}` : column.name;
      this.#render();
      this.options.onsort?.(this.sort);
    };
    const label = column.value
      ? h("button", { type: "button", title: column.title ?? "", onclick: press }, column.label ?? column.name, mark)
      : (column.label ?? column.name);
    return h("th", { scope: "col", "aria-sort": order, class: column.isText ? "text" : "" }, label);
  }
}

function compare(a, b) {
  if (typeof a === "string") return a < b ? -1 : a > b ? 1 : 0;
  return (Number.isNaN(a) ? -1 : a) - (Number.isNaN(b) ? -1 : b);
}
