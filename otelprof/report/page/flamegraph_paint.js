// Paints a flame graph on a canvas, and knows afterwards what was painted where.

/** Height of a row in CSS pixels. */
export const ROW = 20;

const FONT_PX = 12;
const PADDING = 5; // left and right of a label
const MIN_LABEL = 24; // narrower boxes stay without one
const MIN_BOX = 2; // narrower boxes are painted together
const MIN_MANY = 1; // and if they are no wider together, not at all
const HATCH = 6; // distance of the lines
const WIDE = /[^\u0020-\u024f\u2010-\u2027\u2190-\u21ff]/; // may be wider than one column

/** Colours come from custom properties of the canvas, `--fg-…`, so that a style sheet has the say. */
export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.boxes = [];
    this.width = 0;
    this.height = 0;
    this.colours = null;
  }

  /** Read fonts and colours again. */
  restyle() {
    this.colours = null;
  }

  /** Paint `width` times `height` CSS pixels from now on. */
  resize(width, height) {
    const scale = devicePixelRatio || 1;
    if (this.width === width && this.height === height && this.scale === scale) return;
    Object.assign(this, { width, height, scale });
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
  }

  /** What is at (x, y): {node}, or {node, last, count, weight} for several in one box; null if nothing. */
  hit(x, y) {
    const row = this.boxes[Math.floor((y + this.scrolled) / ROW)];
    return row?.find((box) => x >= box.left && x < box.left + box.width) ?? null;
  }

  /** Paint what `scene` says: tree, view, scrolled, rowCount, rowOf(depth), depthOf(row), found, selected, hovered, isFocused, name(item), style(item). */
  paint(scene) {
    this.colours ??= this.#colours();
    const { context, scale } = this;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = this.colours.font;
    context.textBaseline = "middle";
    context.direction = "ltr";
    this.advance = context.measureText("m").width;
    this.scrolled = scene.scrolled;
    this.boxes = [];
    const first = Math.max(0, Math.floor(scene.scrolled / ROW));
    const last = Math.min(scene.rowCount - 1, Math.floor((scene.scrolled + this.height) / ROW));
    for (let row = first; row <= last; row++) {
      this.boxes[row] = this.#row(scene, scene.tree.rows[scene.depthOf(row)]);
      for (const box of this.boxes[row]) this.#box(scene, box, row * ROW - scene.scrolled);
    }
    this.#outlines(scene);
  }

  /** The boxes of a row, from left to right, in pixels. */
  #row({ tree, view }, nodes) {
    const { start, weight } = tree;
    const [from, to] = view;
    const scale = to > from ? this.width / (to - from) : 0;
    const boxes = [];
    let many = null;
    for (let at = firstAfter(nodes, start, weight, from); at < nodes.length && start[nodes[at]] < to; at++) {
      const node = nodes[at];
      const left = Math.max(0, (start[node] - from) * scale);
      const right = Math.min(this.width, (start[node] + weight[node] - from) * scale);
      const width = right - left;
      if (width >= MIN_BOX) {
        many = null;
        boxes.push({ node, left, width });
      } else if (many && left - (many.left + many.width) < 1) {
        many.last = node;
        many.count++;
        many.weight += weight[node];
        many.width = right - many.left;
      } else {
        many = { node, last: node, at, count: 1, weight: weight[node], left, width };
        boxes.push(many);
      }
    }
    return boxes.filter((box) => !box.last || box.width >= MIN_MANY);
  }

  #box(scene, box, y) {
    const { context, colours } = this;
    const item = scene.tree.item[box.node];
    const isMany = box.last !== undefined;
    const isDim = scene.found !== null && !(isMany ? anyIn(scene, box) : scene.found[box.node]);
    const style = isMany ? { fill: colours.many, isHatched: true } : scene.style(item);
    const gap = box.width > 3 ? 1 : 0; // to the next box
    context.fillStyle = isDim ? colours.dim : (colours[style.fill] ?? style.fill);
    context.fillRect(box.left, y, box.width - gap, ROW - 1);
    if (style.isHatched && !isDim) this.#hatch(box.left, y, box.width - gap);
    if (isMany || box.width < MIN_LABEL) return;
    context.fillStyle = isDim ? colours.dimText : colours.text;
    this.#label(scene.name(item), box.left + PADDING, y, box.width - 2 * PADDING);
  }

  #hatch(left, top, width) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(left, top, width, ROW - 1);
    context.clip();
    context.strokeStyle = this.colours.hatch;
    context.lineWidth = 1;
    context.beginPath();
    for (let x = Math.floor(left / HATCH) * HATCH - ROW; x < left + width; x += HATCH) {
      context.moveTo(x, top + ROW);
      context.lineTo(x + ROW, top);
    }
    context.stroke();
    context.restore();
  }

  #label(name, left, top, width) {
    const { context } = this;
    const text = fitting(name, Math.floor(width / this.advance));
    if (!text) return;
    const middle = top + ROW / 2;
    if (!WIDE.test(text)) {
      context.fillText(text, left, middle);
      return;
    }
    context.save();
    context.beginPath();
    context.rect(left, top, width, ROW);
    context.clip();
    context.fillText(text, left, middle);
    context.restore();
  }

  #outlines(scene) {
    const { context, colours } = this;
    const item = scene.hovered >= 0 ? scene.tree.item[scene.hovered] : -1;
    this.boxes.forEach((row, number) => {
      for (const box of row) {
        const isSame = box.last === undefined && item >= 0 && scene.tree.item[box.node] === item;
        const isMatch = scene.found !== null && box.last === undefined && scene.found[box.node];
        if (isSame || isMatch) {
          context.strokeStyle = isSame ? colours.hover : colours.match;
          context.lineWidth = 1.5;
          context.strokeRect(box.left + 0.75, number * ROW - scene.scrolled + 0.75, Math.max(1, box.width - 2.5), ROW - 2.5);
        }
      }
    });
    this.#selection(scene);
  }

  #selection({ tree, selected, view, scrolled, rowOf, isFocused }) {
    if (!selected && !isFocused) return;
    const top = rowOf(tree.depth[selected]) * ROW - scrolled;
    const { context, colours } = this;
    const scale = this.width / (view[1] - view[0]);
    const left = Math.max(0, (tree.start[selected] - view[0]) * scale);
    const right = Math.min(this.width, (tree.start[selected] + tree.weight[selected] - view[0]) * scale);
    if (right < 0 || left > this.width) return;
    context.strokeStyle = colours.selected;
    context.lineWidth = isFocused ? 3 : 2;
    context.strokeRect(left + 1, top + 1, Math.max(3, right - left - 3), ROW - 3);
  }

  #colours() {
    const style = getComputedStyle(this.canvas);
    const colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--fg-${name}`).trim()]));
    colours.font = `${FONT_PX}px ${style.fontFamily}`;
    return colours;
  }
}

const COLOURS = [
  ...["app", "lib", "std", "none"].flatMap((family) => [0, 1, 2, 3].map((shade) => `${family}${shade}`)),
  ...["all", "many", "dim", "text", "dimText", "hatch", "hover", "match", "selected"],
];

/** The place in `nodes` of the first that ends after `from`. */
function firstAfter(nodes, start, weight, from) {
  let [low, high] = [0, nodes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (start[nodes[middle]] + weight[nodes[middle]] <= from) low = middle + 1;
    else high = middle;
  }
  return low;
}

function anyIn({ tree, found }, box) {
  const row = tree.rows[tree.depth[box.node]]; // what is painted together stands together in it
  return row.subarray(box.at, box.at + box.count).some((node) => found[node]);
}

/** As much of a dotted name as `columns` have room for: its end first, `Class.method` before `method`, then cut. */
export function fitting(name, columns) {
  if (columns < 2) return "";
  if (name.length <= columns) return name;
  const dot = name.indexOf(".", name.length - columns - 1);
  if (dot >= 0 && dot < name.length - 1) return name.slice(dot + 1);
  const last = name.slice(name.lastIndexOf(".") + 1) || name;
  return `${last.slice(0, columns - 1)}…`;
}
