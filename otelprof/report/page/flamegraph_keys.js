// Which key does what in a flame graph, and where a move leads.

const KEYS = {
  ArrowDown: "child",
  ArrowUp: "parent",
  ArrowLeft: "before",
  ArrowRight: "after",
  Home: "first",
  End: "last",
  Enter: "zoom",
  Escape: "out",
  Backspace: "out",
  0: "reset",
  s: "open",
};
// With callees above their callers the arrows still lead to where they point.
const UPSIDE_DOWN = { ArrowDown: "parent", ArrowUp: "child" };

/** What `key` does; undefined if nothing. */
export function keyAction(key, up) {
  return (up && UPSIDE_DOWN[key]) || KEYS[key];
}

/** From a node to another: the node itself where there is nothing to go to. */
export const MOVES = {
  child: (tree, node) => tree.children(node)[0] ?? node,
  parent: (tree, node) => Math.max(0, tree.parent[node]),
  before: (tree, node) => inRow(tree, node, -1),
  after: (tree, node) => inRow(tree, node, 1),
  first: (tree, node) => (node ? tree.parent[node] + 1 : 0),
  last: (tree, node) => (node ? tree.children(tree.parent[node]).at(-1) : 0),
};

/** The neighbour in the same row, also where it has another parent. */
function inRow(tree, node, step) {
  const row = tree.rows[tree.depth[node]];
  return row[place(row, node) + step] ?? node;
}

function place(row, node) {
  let [low, high] = [0, row.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row[middle] < node) low = middle + 1;
    else high = middle;
  }
  return low;
}
