// What happened: all events that match, newest first, and what went wrong among them.

import { beforePaint, byId, make, mark, say, show } from "./dom.js";
import { PRIORITIES, moment, span } from "./words.js";

const SHOWN = 200;
//: Facts that say the same as others, or are for programs.
const LEFT_OUT = new Set(["container", "owner", "request", "fence", "stages", "process", "held_us", "waited_us", "by", "new", "priority", "spec", "sample", "measure", "value", "threshold"]);

/** What an event says, in a line. */
export function sentence({ type, facts }) {
  const parts = [];
  if (type === "container.moved") parts.push(`${facts.from} → ${facts.to}`);
  if (facts.owner) parts.push(facts.owner);
  if (facts.priority) parts.push(PRIORITIES[facts.priority] ?? facts.priority);
  if (facts.waited_us) parts.push(`waited ${span(facts.waited_us / 1e6)}`);
  if (facts.held_us) parts.push(`held ${span(facts.held_us / 1e6)}`);
  if (facts.reset_ms !== undefined) parts.push(`${facts.reset_level ?? ""} reset ${span(facts.reset_ms / 1000)}`.trim());
  const said = new Set(["from", "to", "reset_ms", "reset_level", "reset_reason"]);
  for (const [name, value] of Object.entries(facts)) {
    if (!LEFT_OUT.has(name) && !(type === "container.moved" && said.has(name)) && value !== "") parts.push(name === "reason" || name === "note" || name === "why" ? value : `${name} ${value}`);
  }
  if (facts.by) parts.push(`by ${facts.by}`);
  return parts.join(" · ");
}

class Feed {
  #list;
  #shown = 0;
  #text = "";
  #held = false;

  constructor(model) {
    this.model = model;
    this.#list = byId("events");
    const filter = byId("events-filter");
    const again = beforePaint(() => this.#rebuild());
    filter.addEventListener("input", () => {
      this.#text = filter.value.trim().toLowerCase();
      again();
    });
    const hold = byId("events-hold");
    hold.addEventListener("click", () => {
      this.#held = !this.#held;
      mark(hold, "aria-pressed", String(this.#held));
      say(hold, this.#held ? "Go on" : "Hold");
      this.set();
    });
  }

  /** Put what is new on top, and drop what is beyond the end. */
  set() {
    if (this.#held) return;
    if (this.model.seen < this.#shown || this.model.events.length === 0) this.#list.replaceChildren();
    const fresh = [];
    for (const event of this.model.events) {
      if (event.number <= this.#shown || fresh.length >= SHOWN) break;
      if (this.#wants(event)) fresh.push(row(event));
    }
    this.#shown = this.model.seen;
    this.#list.prepend(...fresh);
    while (this.#list.childElementCount > SHOWN) this.#list.lastElementChild.remove();
    this.#tellNone();
  }

  #rebuild() {
    this.#list.replaceChildren(...this.model.events.filter((event) => this.#wants(event)).slice(0, SHOWN).map(row));
    this.#shown = this.model.seen;
    this.#tellNone();
  }

  #tellNone() {
    const empty = this.#list.childElementCount === 0;
    show(byId("events-none"), empty);
    show(this.#list, !empty);
    const none = this.#text ? "None of the last events is like that." : "Nothing yet.";
    say(byId("events-none"), this.model.role === "client" ? "Operators see the events: they name owners." : none);
  }

  #wants(event) {
    event.text ??= `${event.pool} ${event.type} ${event.facts.container ?? ""} ${event.facts.request ?? ""} ${sentence(event)}`.toLowerCase();
    return !this.#text || event.text.includes(this.#text);
  }
}

function row(event) {
  const where = event.facts.container ?? event.pool;
  return make("li", {}, make("time", { datetime: event.at, title: event.at }, moment(event.ms)),
    make("b", {}, event.type), " ", make("span", { class: "where" }, where), make("span", { class: "what" }, sentence(event)));
}

class Failures {
  constructor(model, openDetails) {
    this.model = model;
    this.openDetails = openDetails;
    const since = byId("failures-since");
    since.dateTime = new Date(model.openedAt).toISOString();
    say(since, moment(model.openedAt));
  }

  set() {
    const { failures } = this.model;
    const newest = failures[0]?.event.number ?? 0;
    if (newest === this.newest) return;
    this.newest = newest;
    show(byId("failures-none"), failures.length === 0);
    byId("failures").replaceChildren(...failures.map((failure) => this.#row(failure)));
  }

  #row({ event, what, who, why }) {
    const { container } = event.facts;
    const where = container
      ? make("button", { type: "button", class: "link-like", click: () => this.openDetails(event.pool, container) }, container)
      : make("span", { class: "where" }, event.pool);
    const text = [who, why].filter(Boolean).join(" · ");
    return make("li", {}, make("time", { datetime: event.at, title: event.at }, moment(event.ms)), make("b", {}, what), " ", where, make("span", { class: "what" }, text));
  }
}

export { Feed, Failures };
