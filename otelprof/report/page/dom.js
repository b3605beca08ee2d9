// Elements. Text is only ever set as text: names come from files of anybody.

/**
 * An element with properties and children; strings become text.
 *
 * Of `properties`, `on…` are listeners, `class` and those with a hyphen attributes, and the rest properties. What is
 * undefined, null or false is left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "role" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child);
  }
}

/** Put `children` in the place of what is in `element`. What has the focus keeps it, or what stands in its place gets it. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : element;
  const way = [];
  for (let at = focused; at !== element; at = at.parentElement) way.unshift([...at.parentElement.children].indexOf(at));
  element.replaceChildren();
  append(element, children);
  if (way.length) way.reduce((at, number) => at?.children[number], element)?.focus({ preventScroll: true });
  return element;
}

/** A choice of one of `options`, [value, text, title]: buttons of which one is pressed. */
export function segmented(label, options, chosen, choose) {
  return h(
    "div",
    { class: "segmented", role: "group", "aria-label": label },
    options.map(([value, text, title]) =>
      h(
        "button",
        { type: "button", title: title ?? "", "aria-pressed": String(value === chosen), onclick: () => choose(value) },
        text,
      ),
    ),
  );
}
