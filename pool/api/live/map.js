// The containers of one pool, a card each. A card is written only if its container changed; ages go on where they are seen.

import { Rows, beforePaint, copy, draw, make, mark, say, show } from "./dom.js";
import { counts } from "./model.js";
import { age, many, megabytes, span } from "./words.js";

const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const card = cards.get(target);
    if (!card) continue;
    if (isIntersecting) {
      seen.add(card);
      card.tell();
    } else seen.delete(card);
  }
}, { rootMargin: "200px" });
const cards = new WeakMap();

/** Let the ages of the cards that can be seen go on. */
export function tick() {
  for (const card of seen) card.tell();
}

class Card {
  constructor(model, openDetails) {
    this.model = model;
    this.node = copy("card-template");
    const part = (name) => this.node.querySelector(name);
    this.parts = {
      use: part("use"), name: part(".name"), state: part(".state"), holder: part(".holder"), age: part(".age"),
      memory: part(".memory"), line: part(".line"), counts: part(".counts"), spark: part(".spark"),
      resets: part(".resets .unseen"), last: part(".last"), good: part(".good"), bad: part(".bad"),
    };
    this.parts.name.addEventListener("click", () => openDetails(this.known.pool, this.known.id));
    cards.set(this.node, this);
    watcher.observe(this.node);
  }

  leave() {
    watcher.unobserve(this.node);
    seen.delete(this);
  }

  set(known, pool) {
    this.known = known;
    this.pool = pool;
    const { state } = known;
    const version = `${state.revision} ${state.draining} ${state.conditions} ${state.uses} ${state.memory_mb} ${known.samples.length} ${known.samples.at(-1)?.ms} ${known.resets[0]?.ms} ${state.note}`;
    if (version !== this.version) this.#write();
    this.version = version;
    this.tell();
  }

  #write() {
    const { known, parts } = this;
    const { state } = known;
    mark(this.node, "data-state", state.state);
    mark(parts.use, "href", `#shape-${state.state}`);
    say(parts.name, known.id);
    say(parts.state, stateWords(state));
    say(parts.holder, holderWords(state));
    say(parts.counts, `${many(state.uses, "use")} · gen ${state.generation}`);
    say(parts.memory, megabytes(state.memory_mb));
    mark(parts.spark, "class", trouble(state) ? "spark high" : "spark");
    mark(parts.line, "points", points(known.samples, this.pool.facts.memory_mb));
    say(parts.resets, resetWords(known.resets));
    say(parts.last, known.resets.length ? `${known.resets[0].level} ${span(known.resets[0].took)}` : "");
    mark(parts.good, "d", marks(known.resets, true));
    mark(parts.bad, "d", marks(known.resets, false));
  }

  /** Write how long it has been what it is. */
  tell() {
    const { state } = this.known;
    say(this.parts.age, age((this.model.now(this.pool) - Date.parse(state.since)) / 1000));
  }
}

function stateWords(state) {
  const words = state.draining ? `${state.state}, draining` : state.state;
  return state.state === "resetting" && state.level ? `${words}, ${state.level}` : words;
}

function holderWords(state) {
  if (state.state === "allocated") return state.owner ?? "somebody";
  if (state.note) return state.note;
  if (state.conditions.length) return state.conditions.join(", ").replaceAll("_", " ");
  return state.last_owner ? `last: ${state.last_owner}` : " ";
}

const trouble = (state) => state.conditions.some((condition) => condition.startsWith("memory") || condition === "out_of_memory");

function resetWords(resets) {
  if (!resets.length) return "";
  const bad = resets.filter((reset) => !reset.clean).length;
  return `last reset ${resets[0].level} ${span(resets[0].took)}${bad ? `, ${bad} of the last ${resets.length} failed` : ""}`;
}

/** The last resets as bars, the newest on the right: higher for a higher level. */
const HEIGHT = { start: 5, soft: 5, medium: 7, hard: 9, recreate: 11 };
function marks(resets, clean) {
  return resets.map((reset, index) => (reset.clean === clean ? `M${45 - index * 6} 12v-${HEIGHT[reset.level] ?? 5}` : "")).join("");
}

/** Samples as the points of a line, from the first to the last. What is small beside the limit looks small. */
function points(samples, limit) {
  if (!samples.length) return "";
  const all = samples.map(({ memory }) => memory);
  const room = Math.max((limit || Math.max(...all)) * 0.06, 0.1);
  const [least, most] = [Math.min(...all) - room, Math.max(...all) + room];
  const y = (memory) => (21 - (20 * (memory - least)) / (most - least)).toFixed(1);
  const [first, last] = [samples[0].ms, samples.at(-1).ms];
  if (first === last) return `0,${y(all[0])} 100,${y(all[0])}`;
  return samples.map(({ ms, memory }) => `${(((ms - first) / (last - first)) * 100).toFixed(1)},${y(memory)}`).join(" ");
}

/** The map of one pool, with what it can be narrowed to. */
export class ContainerMap {
  #chips;
  #rows;
  #state = "";
  #text = "";

  constructor(section, model, openDetails) {
    this.model = model;
    this.none = section.querySelector(".map-none");
    this.#rows = new Rows(section.querySelector(".map"), () => new Card(model, openDetails));
    this.#chips = new Rows(section.querySelector(".chips"), (item) => this.#chip(item));
    const again = beforePaint(() => this.set(this.pool));
    const find = section.querySelector(".find input");
    find.addEventListener("input", () => {
      this.#text = find.value.trim().toLowerCase();
      again();
    });
  }

  set(pool) {
    this.pool = pool;
    const found = counts(pool);
    if (this.#state && !found.has(this.#state)) this.#state = "";
    this.#chips.set([...found], ([state]) => state, (row, [state, count]) => {
      say(row.text, `${state} ${count}`);
      mark(row.node, "aria-pressed", String(state === this.#state));
    });
    const shown = pool.containers.filter((state) => this.#wants(state));
    this.#rows.set(shown, (state) => state.id, (card, state) => card.set(this.model.container(pool.pool, state.id), pool));
    show(this.none, shown.length === 0 && pool.containers.length > 0);
  }

  leave() {
    for (const card of this.#rows.values()) card.leave();
  }

  #wants(state) {
    if (this.#state && state.state !== this.#state) return false;
    return !this.#text || [state.id, state.owner, state.last_owner, state.request_id].some((word) => word?.toLowerCase().includes(this.#text));
  }

  #chip([state]) {
    const text = make("span");
    const shape = draw("svg", { width: 12, height: 12, "aria-hidden": "true", class: "shape" }, draw("use", { href: `#shape-${state}` }));
    const node = make("button", { type: "button", class: "chip", "data-state": state, click: () => {
      this.#state = this.#state === state ? "" : state;
      this.set(this.pool);
    } }, shape, text);
    return { node, text };
  }
}
