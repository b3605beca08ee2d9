// Numbers and names as people read them.

const NANOSECONDS = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
  [1, "ns"],
];
const BYTES = [
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
  [1, "B"],
];
// 95 % of a normal distribution lie within so many standard deviations.
const Z_95 = 1.96;
const FEW_SAMPLES = 50;

// Controls, what turns the direction of writing, and what has no width: a name must not hide or forge what stands around it.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\ufff9-\ufffb]/g;

/** `text` with what would not show, or would change how its surroundings show, as an escape such as `\u202e`. */
export function printable(text) {
  return text.replace(HIDDEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** At most `length` characters of `text`, its end kept as well as its beginning. */
export function shortened(text, length) {
  if (text.length <= length) return text;
  const half = Math.floor((length - 1) / 2);
  return `${text.slice(0, half)}…${text.slice(text.length - half)}`;
}

/** A number of things: 12,345. */
export function count(number) {
  return grouped(Math.round(number).toFixed(0));
}

/** Thousands apart: a formatter of the browser's would take as long to begin with as all the rest of the page. */
function grouped(digits) {
  return digits.replace(/\B(?=(?:\d{3})+(?:\.|$))/g, ",");
}

/** `value` with its unit: nanoseconds as 61.8 ms, bytes as 1.5 MiB, anything else by its name. */
export function amount(value, unit) {
  if (unit === "nanoseconds") return scaled(value, NANOSECONDS);
  if (unit === "bytes") return scaled(value, BYTES);
  return unit === "count" ? count(value) : `${count(value)} ${unit}`;
}

/** A duration in nanoseconds as 1.24 s, 61.8 ms, 412 µs. */
export function duration(ns) {
  return scaled(ns, NANOSECONDS);
}

function scaled(value, scale) {
  if (value === 0) return scale === NANOSECONDS ? "0 ms" : "0 B";
  const [factor, unit] = scale.find(([size]) => Math.abs(value) >= size * 0.9995) ?? scale.at(-1);
  const number = value / factor;
  const digits = factor === 1 ? 0 : Math.abs(number) < 9.995 ? 2 : Math.abs(number) < 99.95 ? 1 : 0;
  const fixed = grouped(number.toFixed(digits));
  return `${fixed} ${unit}`;
}

/** `part` of `whole` in percent: 37.1 %, <0.1 %. */
export function share(part, whole) {
  if (!(whole > 0)) return "–";
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.1) return "<0.1 %";
  return `${percent >= 99.95 ? Math.round(percent) : percent.toFixed(1)} %`;
}

/**
 * Where a share most likely is that was seen in `hits` of `samples`: [low, high] from 0 to 1.
 *
 * Wilson's score interval for 95 %, which holds for few samples and near 0 and 1, too. It takes samples as independent.
 */
export function interval(hits, samples) {
  if (!(samples > 0)) return [0, 1];
  const p = Math.min(1, hits / samples);
  const z2 = Z_95 * Z_95;
  const middle = (p + z2 / (2 * samples)) / (1 + z2 / samples);
  const spread =
    (Z_95 / (1 + z2 / samples)) * Math.sqrt((p * (1 - p)) / samples + z2 / (4 * samples * samples));
  return [Math.max(0, middle - spread), Math.min(1, middle + spread)];
}

/** The interval of `hits` in `samples` in words, as shares of what the samples are `part` of: 21.3–26.1 %. */
export function intervalText(hits, samples, part = 1) {
  const [low, high] = interval(hits, samples);
  return `${(100 * low * part).toFixed(1)}–${(100 * high * part).toFixed(1)} %`;
}

/** Whether shares of so many samples are too rough to go without a warning. */
export function isFew(samples) {
  return samples < FEW_SAMPLES;
}

/** A point in time, in milliseconds since 1970, as 2026-11-23 00:29:42 UTC. */
export function time(unixMs) {
  const date = new Date(unixMs);
  if (!(unixMs > 0) || Number.isNaN(date.getTime())) return "";
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
