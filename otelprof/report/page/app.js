// The page: what its address asks for, shown.

import { fill, h, segmented } from "./dom.js";
import { amount, count, duration, isFew, shortened, time } from "./format.js";
import { helpDialog } from "./help.js";
import { Scope } from "./scope.js";
import { Spans } from "./spans.js";
import { format, parse, THEMES } from "./state.js";
import { treeOf } from "./tree.js";
import { AboutView } from "./view_about.js";
import { FlameView } from "./view_flame.js";
import { FunctionsView } from "./view_functions.js";
import { SandwichView } from "./view_sandwich.js";
import { TracesView } from "./view_traces.js";

const VIEWS = [
  ["traces", "Traces", TracesView],
  ["flame", "Flame graph", FlameView],
  ["functions", "Functions", FunctionsView],
  ["sandwich", "Callers & callees", SandwichView],
  ["about", "About", AboutView],
];
const SCOPE_LENGTH = 80;
// What a choice of other samples takes along no longer: places in the tree of the old ones.
const PLACES = { zoom: "", sel: "" };

/** The page of one profile. */
export class App {
  constructor(profile, host) {
    this.profile = profile;
    this.spans = new Spans(profile);
    this.host = host;
    this.views = new Map();
    this.trees = new Map();
    this.state = parse(location.hash);
    this.search = this.#searchField();
    this.kinds = h("span", {});
    this.themes = h("span", {});
    this.summary = h("p", { class: "summary" });
    this.header = h(
      "header",
      {},
      h("h1", {}, h("span", { class: "product" }, "otelprof"), profile.title || "profile"),
      h("span", { class: "spring" }),
      this.kinds,
      this.search,
      this.themes,
      h("button", { type: "button", title: "Keys (?)", "aria-label": "Keys", onclick: () => this.help.showModal() }, "?"),
      this.summary,
    );
    this.tabs = h("nav", { class: "tabs", "aria-label": "Views" });
    this.pills = h("div", { class: "pills" });
    this.main = h("main", {});
    this.help = helpDialog();
    addEventListener("hashchange", () => this.#follow());
    host.addEventListener("click", (event) => this.#click(event));
    addEventListener("keydown", (event) => this.#key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#theme());
  }

  /** Show it. */
  start() {
    fill(this.host, this.header, this.tabs, this.pills, this.main, this.help);
    this.#apply();
  }

  /** Change the state and its address: a step that Back undoes, unless it is to `replace` the last. */
  set(patch, { replace = false } = {}) {
    this.state = { ...this.state, ...patch };
    const fragment = format(this.state);
    if (fragment !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", fragment);
    this.#apply();
  }

  /** The address of the state with `patch`, for links. */
  link(patch) {
    return format({ ...this.state, ...patch });
  }

  /** The address of samples in `view`. */
  scopeLink(scope, view = "flame") {
    return this.link({ ...PLACES, view, scope });
  }

  /** The tree of the samples that are looked at; the same one as long as they are. */
  get tree() {
    const { own, lines, thread, scope } = this.state;
    const key = JSON.stringify([this.kind.name, scope, own, lines, thread]);
    let tree = this.trees.get(key);
    if (!tree) {
      const wanted = this.profile.threads.indexOf(thread);
      const accepts = (span, of) => (wanted < 1 || of === wanted) && this.scope.accepts(span);
      tree = treeOf(this.profile, this.kind, { accepts, lines, others: this.others });
      this.trees.clear(); // of more than one, memory would be
      this.trees.set(key, tree);
    }
    return tree;
  }

  /** The kinds that the tree is not laid out by. */
  get others() {
    return this.profile.kinds.filter((kind) => kind !== this.kind);
  }

  /** What to know of the samples that are looked at. */
  scopeNotices() {
    const { scope, kind } = this;
    const notices = [];
    if (!scope.isFound) notices.push(`The link leads to ${scope.title}, which is not in this report.`);
    if (scope.note) notices.push(scope.note);
    const [weight, samples] = this.tree.total;
    if (weight[0] > 0 && isFew(samples[0])) {
      notices.push(
        `Only ${kind.isCounted ? "" : "about "}${count(samples[0])} samples: shares are rough. See “95 % sure” beside each.`,
      );
    }
    return notices;
  }

  /** A choice of one thread, where there are several. */
  threadChoice() {
    const names = this.profile.threads.slice(1);
    if (names.length < 2) return null;
    const choice = h(
      "select",
      { "aria-label": "Thread", onchange: () => this.set({ ...PLACES, thread: choice.value }) },
      h("option", { value: "" }, "all threads"),
      names.map((name) => h("option", { value: name, selected: name === this.state.thread }, shortened(name, SCOPE_LENGTH))),
    );
    return choice;
  }

  #follow() {
    this.state = parse(location.hash);
    this.#apply();
  }

  /** Follow a link to another view at once, not when the browser says that the address has changed. */
  #click(event) {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.set(parse(link.hash));
  }

  #apply() {
    const { state } = this;
    const fallback = this.spans.size ? "traces" : "flame";
    this.view = state.view || fallback;
    // Wall time is what a user waits for.
    const name = state.kind || (this.profile.kinds.some((kind) => kind.name === "wall") ? "wall" : "");
    this.kind = this.profile.kindNamed(name);
    if (!this.scope || this.scope.text !== state.scope || this.scope.withChildren === state.own) {
      this.scope = new Scope(this.spans, state.scope, !state.own);
    }
    this.#theme();
    this.#render();
    if (!this.kind) {
      fill(this.main, h("p", { class: "notice" }, "There are no samples in this report."));
      return;
    }
    const view = this.#view(this.view);
    if (this.main.firstChild !== view.element) fill(this.main, view.element);
    view.update();
  }

  #view(name) {
    if (!this.views.has(name)) {
      const [, , View] = VIEWS.find(([known]) => known === name);
      this.views.set(name, new View(this));
    }
    return this.views.get(name);
  }

  #theme() {
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = this.state.theme === "auto" ? (isDark ? "dark" : "light") : this.state.theme;
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    for (const view of this.views.values()) view.restyle?.();
  }

  #render() {
    const { profile, state } = this;
    const choose = (kind) => this.set({ ...PLACES, kind });
    fill(
      this.kinds,
      profile.kinds.length > 1 &&
        segmented("Samples of", profile.kinds.map((kind) => [kind.name, kind.label]), this.kind.name, choose),
    );
    fill(
      this.themes,
      h("button", { type: "button", title: "Theme: auto, light, dark (key t)", onclick: () => this.#nextTheme() }, `◐ ${state.theme}`),
    );
    fill(this.summary, this.#summary());
    if (this.search.value !== state.q) this.search.value = state.q;
    fill(
      this.tabs,
      VIEWS.map(([name, text], at) =>
        h("a", { href: this.link({ view: name }), "aria-current": name === this.view ? "page" : null, title: `key: ${at + 1}` }, text),
      ),
    );
    fill(this.pills, this.view === "about" || (this.view === "traces" && !state.trace) ? [] : this.#pills());
  }

  #summary() {
    const { profile } = this;
    const totals = profile.kinds.map((kind) => {
      const sum = kind.weight.reduce((total, weight) => total + weight, 0);
      return `${amount(sum, kind.unit)} ${kind.label}`;
    });
    // Kinds that are sampled together lack the same samples: each is said once.
    const losses = new Map();
    for (const [, reason, lost] of profile.losses) losses.set(reason, Math.max(lost, losses.get(reason) ?? 0));
    const lost = [...losses].map(([reason, number]) => `${count(number)} ${reason}`);
    return [
      [time(profile.startUnixMs), duration(profile.durationNs), ...totals, `${count(this.spans.size)} spans`].filter(Boolean).join(" · "),
      lost.length > 0 && [" · ", h("a", { href: this.link({ view: "about" }), class: "losses" }, `losses: ${lost.join(", ")}`)],
    ];
  }

  #pills() {
    const { state, scope } = this;
    const away = (label, patch) =>
      h("button", { type: "button", class: "away", "aria-label": label, title: label, onclick: () => this.set({ ...PLACES, ...patch }) }, "×");
    return [
      h(
        "span",
        { class: "pill" },
        h("span", { class: "faint" }, "samples of "),
        h("strong", {}, shortened(scope.title, SCOPE_LENGTH)),
        state.scope && away("Look at the whole profile", { scope: "", own: false }),
      ),
      scope.hasSpans &&
        segmented(
          "Spans below",
          [[false, "with child spans"], [true, "without"]],
          state.own,
          (own) => this.set({ ...PLACES, own }),
        ),
      state.thread && h("span", { class: "pill" }, h("span", { class: "faint" }, "thread "), shortened(state.thread, SCOPE_LENGTH), away("All threads", { thread: "" })),
    ];
  }

  #searchField() {
    const field = h("input", {
      type: "search",
      placeholder: "Search functions and files  /",
      "aria-label": "Search functions and files",
      spellcheck: false,
      oninput: () => this.set({ q: field.value }, { replace: true }),
      onkeydown: (event) => {
        if (event.key === "Enter") this.#view(this.view).step?.(event.shiftKey ? -1 : 1);
        else if (event.key === "Escape") {
          field.blur();
          this.set({ q: "" }, { replace: true });
        } else return;
        event.preventDefault();
      },
    });
    return field;
  }

  #nextTheme() {
    const theme = THEMES[(THEMES.indexOf(this.state.theme) + 1) % THEMES.length];
    this.set({ theme }, { replace: true });
  }

  #key(event) {
    const isTyping = /^(?:INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    const view = VIEWS[Number(event.key) - 1];
    const kind = this.profile.kinds.find(({ name }) => name.startsWith(event.key));
    if (view) this.set({ view: view[0] });
    else if (event.key === "/") this.search.focus();
    else if (event.key === "?") this.help.showModal();
    else if (event.key === "t") this.#nextTheme();
    else if (event.key === "n" || event.key === "N") this.#view(this.view).step?.(event.key === "n" ? 1 : -1);
    else if (event.key === "u") this.set({ up: !this.state.up });
    else if (event.key === "l") this.set({ ...PLACES, lines: !this.state.lines });
    else if (event.key === "o" && this.scope.hasSpans) this.set({ ...PLACES, own: !this.state.own });
    else if (kind && event.key.length === 1) this.set({ ...PLACES, kind: kind.name });
    else return;
    event.preventDefault();
  }
}
