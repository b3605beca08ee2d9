// Unpacks what the page carries, and shows it.

import { App } from "./app.js";
import { h } from "./dom.js";
import { Profile } from "./profile.js";

/** Base64 of gzip of JSON. */
async function unpacked(text) {
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).json();
}

function painted(host) {
  performance.mark("otelprof:painted");
  host.dataset.state = "painted";
}

async function main() {
  const host = document.getElementById("report");
  try {
    const profile = new Profile(await unpacked(document.getElementById("columns").textContent));
    new App(profile, host).start();
    // The second frame begins when the first has been painted.
    requestAnimationFrame(() => requestAnimationFrame(() => painted(host)));
  } catch (error) {
    host.replaceChildren(h("p", { class: "notice" }, `This report cannot be shown in this browser: ${error}`));
    throw error;
  }
}

await main();
