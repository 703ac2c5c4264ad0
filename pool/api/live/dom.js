// Small help with the document. Whatever comes from outside becomes text here, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** Make an element: attributes by name, listeners as functions; children are elements or text. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Write a text if it is another one. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute if it is another one. */
export function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Show or hide. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Copy a template's only element. */
export function copy(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Let a list have one child for each item, made once for each key and kept as long as the key is there. */
export class Rows {
  #list;
  #make;
  #known = new Map();

  constructor(list, make) {
    this.#list = list;
    this.#make = make;
  }

  /** Call `update(row, item)` for each item; rows stand in the order of the items. */
  set(items, keyOf, update) {
    const gone = new Set(this.#known.keys());
    let place = this.#list.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      gone.delete(key);
      let row = this.#known.get(key);
      if (!row) this.#known.set(key, (row = this.#make(item)));
      update(row, item);
      if (row.node === place) place = place.nextElementSibling;
      else this.#list.insertBefore(row.node, place);
    }
    for (const key of gone) {
      const row = this.#known.get(key);
      row.leave?.();
      row.node.remove();
      this.#known.delete(key);
    }
  }

  get(key) {
    return this.#known.get(key);
  }

  values() {
    return this.#known.values();
  }
}

/**
 * Do something once before the next picture, however often it is asked for, and no sooner than so many ms after the last
 * time. A hidden tab does nothing.
 */
export function beforePaint(work, apartMs = 0) {
  let asked = false;
  let last = -apartMs;
  const draw = () => requestAnimationFrame(() => {
    asked = false;
    last = performance.now();
    work();
  });
  return () => {
    if (asked) return;
    asked = true;
    const left = last + apartMs - performance.now();
    if (left > 0) setTimeout(draw, left);
    else draw();
  };
}
