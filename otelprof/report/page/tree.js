// Trees of merged stacks: what a flame graph draws.

/**
 * A tree as columns, in the order in which it is drawn: a node, then its children, heaviest first.
 *
 * `item` is what a node stands for (a function or a frame), -1 at the root. The subtree of a node is the rows up to `end`.
 * `start` is where it begins on an axis from 0 to the root's total. `self` and `total` are lists of columns, one for each
 * measure; the first is the weight by which the tree is laid out, the second the count of samples. Nodes that only another
 * measure knows have no weight: they are not in `rows`, the nodes of each depth from left to right.
 */
export class Tree {
  constructor(columns) {
    Object.assign(this, columns);
    this.size = this.parent.length;
    this.weight = this.total[0];
    this.rows = rowsByDepth(this.depth, this.weight);
  }

  /** Whether nothing in it has any weight. */
  get isEmpty() {
    return !(this.weight[0] > 0);
  }

  /** The children of `node` that have weight, heaviest first. */
  children(node) {
    const children = [];
    for (let child = node + 1; child < this.end[node] && this.weight[child] > 0; child = this.end[child]) children.push(child);
    return children;
  }

  /** The nodes from the root to `node`. */
  path(node) {
    const path = [];
    for (let at = node; at >= 0; at = this.parent[at]) path.unshift(at);
    return path;
  }
}

/** Merges stacks into a tree: parents first, then values. */
export class TreeBuilder {
  /** @param itemCount items are below it. @param measureCount how many values each node has. */
  constructor(itemCount, measureCount) {
    this.itemCount = itemCount;
    this.parent = [-1];
    this.item = [-1];
    this.self = Array.from({ length: measureCount }, () => [0]);
    this.known = new Map();
  }

  /** The child of `parent` for `item`, made if there is none. */
  child(parent, item) {
    const key = parent * this.itemCount + item;
    let node = this.known.get(key);
    if (node === undefined) {
      node = this.parent.length;
      this.known.set(key, node);
      this.parent.push(parent);
      this.item.push(item);
      for (const column of this.self) column.push(0);
    }
    return node;
  }

  /** The tree, siblings by weight, or by `nameOf(item)` where they weigh the same. */
  tree(nameOf) {
    const size = this.parent.length;
    const total = this.self.map((column) => Float64Array.from(column));
    for (const column of total) {
      for (let node = size - 1; node > 0; node--) column[this.parent[node]] += column[node];
    }
    const order = this.#ordered(total[0], nameOf);
    const place = new Int32Array(size);
    for (let row = 0; row < size; row++) place[order[row]] = row;
    const parent = picked(Int32Array, this.parent, order);
    for (let row = 1; row < size; row++) parent[row] = place[parent[row]];
    const totals = total.map((column) => picked(Float64Array, column, order));
    return new Tree({
      parent,
      item: picked(Int32Array, this.item, order),
      self: this.self.map((column) => picked(Float64Array, column, order)),
      total: totals,
      ...laidOut(parent, totals[0]),
    });
  }

  #ordered(weight, nameOf) {
    const size = this.parent.length;
    // The children of a node as a list through `next`.
    const first = new Int32Array(size);
    const next = new Int32Array(size);
    for (let node = size - 1; node > 0; node--) {
      next[node] = first[this.parent[node]];
      first[this.parent[node]] = node;
    }
    const lightestFirst = (a, b) => weight[a] - weight[b] || (nameOf(this.item[a]) < nameOf(this.item[b]) ? 1 : -1);
    const order = new Int32Array(size);
    const waiting = [0];
    for (let row = 0; row < size; row++) {
      const node = waiting.pop();
      order[row] = node;
      const siblings = [];
      for (let child = first[node]; child; child = next[child]) siblings.push(child);
      if (siblings.length > 1) siblings.sort(lightestFirst);
      for (const child of siblings) waiting.push(child);
    }
    return order;
  }
}

function picked(Type, column, order) {
  const result = new Type(order.length);
  for (let row = 0; row < order.length; row++) result[row] = column[order[row]];
  return result;
}

function laidOut(parent, weight) {
  const size = parent.length;
  const depth = new Int32Array(size);
  const end = new Int32Array(size);
  const start = new Float64Array(size);
  const next = new Float64Array(size); // where the next child of a node begins
  for (let node = 0; node < size; node++) {
    const above = parent[node];
    if (above >= 0) {
      depth[node] = depth[above] + 1;
      start[node] = next[above];
      next[above] += weight[node];
    }
    next[node] = start[node];
    end[node] = node + 1;
  }
  for (let node = size - 1; node > 0; node--) {
    end[parent[node]] = Math.max(end[parent[node]], end[node]);
  }
  return { depth, end, start };
}

function rowsByDepth(depth, weight) {
  const rows = [];
  for (let node = 0; node < depth.length; node++) {
    if (weight[node] > 0) (rows[depth[node]] ??= []).push(node);
  }
  return rows.map((row) => Int32Array.from(row));
}

/**
 * The tree of the samples that `accepts(span, thread)`, laid out by `kind`.
 *
 * Items are functions or, by `lines`, frames. Measures are weight and count of `kind`, then the weights of `others`.
 */
export function treeOf(profile, kind, { accepts, lines = false, others = [] }) {
  const { parent, frame } = profile.nodes;
  const columns = kind.byNode(parent.length, accepts);
  for (const other of others) columns.push(other.byNode(parent.length, accepts)[0]);
  const weighs = new Uint8Array(parent.length);
  for (const column of columns) {
    for (let node = parent.length - 1; node > 0; node--) if (column[node] > 0) weighs[node] = 1;
  }
  for (let node = parent.length - 1; node > 0; node--) if (weighs[node]) weighs[parent[node]] = 1;
  const itemOf = lines ? (row) => row : (row) => profile.frames.function[row];
  const itemCount = lines ? profile.frames.function.length : profile.functionCount;
  const builder = new TreeBuilder(itemCount, columns.length);
  const merged = new Int32Array(parent.length);
  for (let node = 0; node < parent.length; node++) {
    if (node && !weighs[node]) continue;
    const to = node ? builder.child(merged[parent[node]], itemOf(frame[node])) : 0;
    merged[node] = to;
  }
  columns.forEach((column, measure) => {
    const self = builder.self[measure];
    for (let node = 0; node < parent.length; node++) if (column[node] > 0) self[merged[node]] += column[node];
  });
  const functionOf = functionOfItem(profile, lines);
  return builder.tree((item) => profile.functionName(functionOf(item)));
}

/** How to come from an item of `treeOf` to its function. */
export function functionOfItem(profile, lines) {
  return lines ? (item) => profile.frames.function[item] : (item) => item;
}

/** The outermost nodes for which `isWanted(item)`: none lies below another. */
export function outermost(tree, isWanted) {
  const found = [];
  for (let node = 1; node < tree.size; ) {
    if (isWanted(tree.item[node])) {
      found.push(node);
      node = tree.end[node];
    } else {
      node++;
    }
  }
  return found;
}

/** What `item` calls: the trees below its outermost nodes, merged. The root's only child is `item`. */
export function calleesOf(tree, item, itemCount, nameOf) {
  const builder = new TreeBuilder(itemCount, tree.self.length);
  const merged = new Int32Array(tree.size);
  for (const top of outermost(tree, (other) => other === item)) {
    for (let node = top; node < tree.end[top]; node++) {
      merged[node] = builder.child(node === top ? 0 : merged[tree.parent[node]], tree.item[node]);
      tree.self.forEach((column, measure) => (builder.self[measure][merged[node]] += column[node]));
    }
  }
  return builder.tree(nameOf);
}

/** What calls `item`: from its outermost nodes up to the roots, merged. The root's only child is `item`. */
export function callersOf(tree, item, itemCount, nameOf) {
  const builder = new TreeBuilder(itemCount, tree.self.length);
  for (const top of outermost(tree, (other) => other === item)) {
    let to = 0;
    for (let node = top; node > 0; node = tree.parent[node]) to = builder.child(to, tree.item[node]);
    tree.total.forEach((column, measure) => (builder.self[measure][to] += column[top]));
  }
  return builder.tree(nameOf);
}

/** Time of each item: `self` as it is, `total` once however often the item stands on a stack. */
export function itemTimes(tree, itemCount) {
  const measures = tree.self.length;
  const self = Array.from({ length: measures }, () => new Float64Array(itemCount));
  const total = Array.from({ length: measures }, () => new Float64Array(itemCount));
  const open = new Int32Array(itemCount); // how often an item is on the way to the current node
  const way = [];
  for (let node = 1; node < tree.size; node++) {
    while (way.length && tree.end[way.at(-1)] <= node) open[tree.item[way.pop()]]--;
    const item = tree.item[node];
    for (let measure = 0; measure < measures; measure++) {
      self[measure][item] += tree.self[measure][node];
      if (!open[item]) total[measure][item] += tree.total[measure][node];
    }
    open[item]++;
    way.push(node);
  }
  return { self, total };
}
