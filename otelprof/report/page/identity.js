// Names of nodes for links: hashes of what they are, so that they hold in a report of another run.

const MULTIPLIERS = [2654435761, 1597334677];

/** 53 bits of `text`, after `seed`, as 14 hexadecimal digits. Not a secret's hash: names are only told apart. */
function hash(text, seed) {
  let a = 0xdeadbeef ^ seed;
  let b = 0x41c6ce57 ^ seed;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    a = Math.imul(a ^ code, MULTIPLIERS[0]);
    b = Math.imul(b ^ code, MULTIPLIERS[1]);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (b & 0x1fffff) * 2 ** 32 + (a >>> 0);
}

/** The name of an item: `text` says all that tells it from others. */
export function itemName(text) {
  return hash(text, 0).toString(16).padStart(14, "0");
}

/** The name of `node`: of the way to it. Empty for the root. */
export function nodeName(tree, node, textOf) {
  let name = "";
  for (const at of tree.path(node).slice(1)) name = itemName(`${name}/${textOf(tree.item[at])}`);
  return name;
}

/** The node of this name, or -1. */
export function nodeNamed(tree, name, textOf) {
  if (!name) return 0;
  const names = new Array(tree.size).fill("");
  for (let node = 1; node < tree.size; node++) {
    names[node] = itemName(`${names[tree.parent[node]]}/${textOf(tree.item[node])}`);
    if (names[node] === name) return node;
  }
  return -1;
}
