// Search in a tree: which nodes match, and how much of the tree they are.

/** A test of texts for `query`: small letters stand for both, a capital only for itself. Null if there is nothing to find. */
export function matcher(query) {
  const wanted = query.trim();
  if (!wanted) return null;
  if (wanted !== wanted.toLowerCase()) return (text) => text.includes(wanted);
  return (text) => text.toLowerCase().includes(wanted);
}

/**
 * The nodes whose item matches.
 *
 * `textOf(item)` is what is searched. `weight` and `count` are of the outermost matches: what lies below a match is in it.
 */
export function search(tree, query, textOf) {
  const matches = matcher(query);
  if (!matches) return null;
  const known = new Map();
  const isWanted = (item) => {
    let found = known.get(item);
    if (found === undefined) known.set(item, (found = matches(textOf(item))));
    return found;
  };
  const isMatch = new Uint8Array(tree.size);
  const nodes = [];
  const items = new Set();
  let weight = 0;
  let count = 0;
  let covered = 0; // nodes before this one are below a match
  for (let node = 1; node < tree.size; node++) {
    if (!(tree.weight[node] > 0) || !isWanted(tree.item[node])) continue;
    isMatch[node] = 1;
    items.add(tree.item[node]);
    nodes.push(node);
    if (node < covered) continue;
    weight += tree.weight[node];
    count += tree.total[1][node];
    covered = tree.end[node];
  }
  return { isMatch, nodes, weight, count, items: items.size };
}
