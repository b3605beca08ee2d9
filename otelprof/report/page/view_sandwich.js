// One function: all that calls it above, all that it calls below, wherever it stands.

import { fill, h } from "./dom.js";
import { whyEmpty } from "./flame_panel.js";
import { FlameGraph } from "./flamegraph.js";
import { amount, intervalText, share, shortened } from "./format.js";
import { FunctionTable } from "./function_table.js";
import { functionNamed, Items } from "./items.js";
import { search } from "./search.js";
import { calleesOf, callersOf, treeOf } from "./tree.js";

const NAME_LENGTH = 300;

export class SandwichView {
  constructor(app) {
    this.app = app;
    this.table = new FunctionTable(app, { isShort: true });
    this.callers = this.#graph("callers", "Callers", true);
    this.callees = this.#graph("callees", "Callees", false);
    this.title = h("div", { class: "sandwich-title" });
    this.graphs = h(
      "section",
      { class: "panel sandwich" },
      h("h2", {}, "Callers"),
      this.callers.element,
      this.title,
      this.callees.element,
      h("h2", {}, "Callees"),
    );
    this.notice = h("p", { class: "notice" });
    const list = h("section", { class: "list" }, this.notice, this.table.element);
    this.element = h("div", { class: "view tall columns" }, list, this.graphs);
  }

  update() {
    const { app } = this;
    this.table.update();
    const chosen = this.#chosen();
    this.graphs.hidden = chosen < 0;
    const notices = app.tree.isEmpty ? [...app.scopeNotices(), whyEmpty(app)] : app.scopeNotices();
    this.notice.hidden = notices.length === 0;
    this.notice.textContent = notices.join(" ");
    if (chosen < 0) return;
    const key = `${app.kind.name} ${chosen}`;
    if (this.tree !== app.tree || this.key !== key) this.#show(chosen);
    [this.tree, this.key] = [app.tree, key];
    for (const graph of [this.callers, this.callees]) {
      graph.highlight(search(graph.tree, app.state.q, this.items.searched)?.isMatch ?? null);
    }
  }

  restyle() {
    this.callers.draw({ restyled: true });
    this.callees.draw({ restyled: true });
  }

  /** The function of the link, or else the first of the table. */
  #chosen() {
    const named = functionNamed(this.app.profile, this.app.state.fn);
    if (named > 0) return named;
    const { rows, times, items } = this.table.found;
    let best = -1;
    for (const item of rows) if (best < 0 || times.self[0][item] > times.self[0][best]) best = item;
    return best < 0 ? -1 : items.functionOf(best);
  }

  #show(row) {
    const { app } = this;
    const { profile, kind } = app;
    // By functions, also where boxes are lines elsewhere: a line of a function is called by the same as the function.
    const tree = app.state.lines ? this.#byFunction() : app.tree;
    this.items = new Items(profile, kind, app.others, false, "");
    const name = (item) => this.items.name(item);
    this.callers.show(callersOf(tree, row, profile.functionCount, name));
    this.callees.show(calleesOf(tree, row, profile.functionCount, name));
    const graph = this.callees.tree;
    const [weight, self, samples] = [graph.total[0][0], graph.size > 1 ? graph.self[0][1] : 0, graph.total[1][0]];
    fill(
      this.title,
      h("span", { class: "name" }, shortened(profile.functionName(row), NAME_LENGTH)),
      h("span", { class: "faint" }, shortened(profile.place(row), NAME_LENGTH)),
      h(
        "span",
        {},
        `${kind.label} total ${amount(weight, kind.unit)} (${share(weight, tree.weight[0])}), self ${amount(self, kind.unit)} (${share(self, tree.weight[0])})`,
      ),
      tree.total[1][0] > 0 && h("span", { class: "faint" }, `total share, 95 % sure: ${intervalText(samples, tree.total[1][0])}`),
    );
  }

  #byFunction() {
    const { app } = this;
    const wanted = app.profile.threads.indexOf(app.state.thread);
    const accepts = (span, thread) => (wanted < 1 || thread === wanted) && app.scope.accepts(span);
    return treeOf(app.profile, app.kind, { accepts, others: app.others });
  }

  #graph(part, label, up) {
    const graph = new FlameGraph({
      label: `${label}. Arrow keys move, Enter zooms, S opens the chosen function.`,
      up,
      hasRoot: false,
      name: (item) => this.items.name(item),
      style: (item) => this.items.style(item),
      describe: (node) => this.items.describe(graph.tree, node),
      describeMany: (number, weight) => this.items.describeMany(graph.tree, number, weight),
      onopen: (node) => this.app.set({ fn: this.items.functionIdentity(graph.tree.item[node]) }),
    });
    graph.element.classList.add(part);
    return graph;
  }
}
