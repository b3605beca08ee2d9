// The functions, by time.

import { fill, h } from "./dom.js";
import { count } from "./format.js";
import { FunctionTable } from "./function_table.js";
import { whyEmpty } from "./flame_panel.js";

export class FunctionsView {
  constructor(app) {
    this.app = app;
    this.table = new FunctionTable(app);
    this.notice = h("div", { class: "notices" });
    this.tools = h("div", { class: "tools" });
    this.element = h("div", { class: "view" }, this.tools, this.notice, this.table.element);
  }

  update() {
    const { app } = this;
    this.table.update();
    const { rows } = this.table.found;
    const notices = app.scopeNotices();
    if (app.tree.isEmpty) notices.push(whyEmpty(app));
    fill(
      this.tools,
      app.threadChoice(),
      h("span", { class: "faint", role: "status" }, `${count(rows.length)} ${app.state.q ? "functions match the search" : "functions"}`),
    );
    fill(this.notice, notices.map((text) => h("p", { class: "notice" }, text)));
  }
}
