// The flame graph of the samples that are looked at.

import { fill, h } from "./dom.js";
import { FlamePanel, whyEmpty } from "./flame_panel.js";

export class FlameView {
  constructor(app) {
    this.app = app;
    this.panel = new FlamePanel(app, "Flame graph");
    this.empty = h("div", {});
    this.element = h("div", { class: "view tall" }, this.empty, this.panel.element);
  }

  update() {
    this.panel.update();
    const isEmpty = this.panel.tree.isEmpty;
    fill(this.empty, isEmpty && h("p", { class: "notice" }, whyEmpty(this.app)));
  }

  step(direction) {
    this.panel.step(direction);
  }

  restyle() {
    this.panel.graph.draw({ restyled: true });
  }
}
