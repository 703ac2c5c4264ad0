// What the page knows. Every list has an end, so that a page left open for a day is as large as it was after an hour.

import { STATES } from "./words.js";

const EVENTS_KEPT = 300;
const FAILURES_KEPT = 30;
const RESETS_KEPT = 8;
//: Memory as this page has seen it: one sample each few seconds, for the last so many.
const SAMPLES_KEPT = 60;
const SAMPLE_MS = 10_000;
//: browsers-2 before browsers-10.
const BY_NAME = new Intl.Collator("en", { numeric: true });

export class Model {
  pools = [];
  events = [];
  failures = [];
  role = "unknown";
  link = { state: "connecting", since: Date.now(), why: "" };
  openedAt = Date.now();
  analytics = { state: "unknown", pools: new Map() };
  //: Counts events, so that a view knows which ones it has not shown yet.
  seen = 0;
  #containers = new Map();
  #last = new Map();
  #listeners = [];

  /** Have a function called, with what changed, after each change. */
  watch(listener) {
    this.#listeners.push(listener);
  }

  #changed(what) {
    for (const listener of this.#listeners) listener(what);
  }

  container(pool, id) {
    return this.#containers.get(`${pool}/${id}`);
  }

  /** The time of a pool's own clock. It stands still while nobody answers: nothing is known of what happens. */
  now(pool) {
    const { state, since } = this.link;
    return (state === "away" ? Math.min(since, Date.now()) : Date.now()) + pool.ahead;
  }

  setPools(documents) {
    const received = Date.now();
    const there = new Set();
    this.pools = documents.map((document) => ({ ...document, ahead: Date.parse(document.at) - received }));
    for (const pool of this.pools) {
      pool.containers.sort((one, other) => BY_NAME.compare(one.id, other.id));
      for (const state of pool.containers) {
        const key = `${pool.pool}/${state.id}`;
        there.add(key);
        const known = this.#containers.get(key) ?? { key, pool: pool.pool, id: state.id, samples: [], resets: [] };
        known.state = state;
        sample(known, received);
        this.#containers.set(key, known);
      }
    }
    for (const key of this.#containers.keys()) if (!there.has(key)) this.#containers.delete(key);
    for (const name of this.#last.keys()) if (!documents.some((each) => each.pool === name)) this.#last.delete(name);
    this.setLink("live");
    this.#changed("pools");
  }

  /** Note what happened; what was heard before is passed over. */
  addEvents(events) {
    const fresh = events.filter((event) => this.#isNew(event));
    for (const event of fresh) {
      event.number = ++this.seen;
      event.ms = Date.parse(event.at);
      this.#noteReset(event);
      const failure = failureOf(event);
      if (failure) this.failures.unshift({ ...failure, event });
    }
    if (!fresh.length) return 0;
    this.events = [...fresh.slice(-EVENTS_KEPT).reverse(), ...this.events].slice(0, EVENTS_KEPT);
    this.failures.length = Math.min(this.failures.length, FAILURES_KEPT);
    this.#changed("events");
    return fresh.length;
  }

  #isNew({ pool, id }) {
    const last = this.#last.get(pool);
    if (last && !later(id, last)) return false;
    this.#last.set(pool, id);
    return true;
  }

  #noteReset({ type, pool, facts, ms }) {
    const known = type === "container.moved" && this.container(pool, facts.container);
    const started = facts.from === "starting";
    const took = facts.start_ms ?? facts.reset_ms;
    if (!known || took === undefined) return;
    const clean = facts.to === "available" || facts.to === "spare";
    known.resets.unshift({
      ms, clean, took: Number(took) / 1000, level: started ? "start" : facts.reset_level ?? "",
      reason: started ? "on_start" : facts.reset_reason ?? facts.reason ?? "", note: clean ? "" : facts.note ?? "",
    });
    known.resets.length = Math.min(known.resets.length, RESETS_KEPT);
  }

  setLink(state, why = "") {
    if (this.link.state === state && this.link.why === why) return;
    const since = this.link.state === state ? this.link.since : Date.now();
    this.link = { state, why, since };
    this.#changed("link");
  }

  setRole(role) {
    if (this.role === role) return;
    this.role = role;
    this.#changed("role");
  }

  setAnalytics(state, pools = []) {
    this.analytics = { state, pools: new Map(pools.map((pool) => [pool.pool, pool])) };
    this.#changed("analytics");
  }

  /** Forget whatever one identity could see and the next one may not. */
  clear() {
    this.pools = [];
    this.events = [];
    this.failures = [];
    this.#containers.clear();
    this.#last.clear();
    this.role = "unknown";
    this.analytics = { state: "unknown", pools: new Map() };
    for (const what of ["pools", "events", "role", "analytics"]) this.#changed(what);
  }
}

/** How many containers of a pool are in which state; zeros are left out. */
export function counts(pool) {
  const found = new Map();
  for (const { state } of pool.containers) found.set(state, (found.get(state) ?? 0) + 1);
  return new Map(STATES.filter((state) => found.has(state)).map((state) => [state, found.get(state)]));
}

function sample(known, ms) {
  const { memory_mb: memory, generation } = known.state;
  if (known.generation !== generation) known.samples = []; // another container, another memory
  known.generation = generation;
  if (memory == null || ms - (known.samples.at(-1)?.ms ?? 0) < SAMPLE_MS) return;
  known.samples.push({ ms, memory });
  if (known.samples.length > SAMPLES_KEPT) known.samples.shift();
}

function later(id, other) {
  const [a, m] = id.split("-");
  const [b, n] = other.split("-");
  return a === b ? Number(m ?? 0) > Number(n ?? 0) : Number(a) > Number(b);
}

/** What went wrong in an event; null where nothing did. */
function failureOf({ type, facts }) {
  if (type === "lease.lost") return { what: "lease lost", who: facts.owner, why: facts.note || facts.reason };
  if (type === "lease.released" && facts.outcome && facts.outcome !== "passed") return { what: `work ${facts.outcome === "failed" ? "failed" : "ended in an error"}`, who: facts.owner };
  if (type === "lease.unfit") return { what: "unfit at hand-out", who: facts.owner, why: facts.note };
  if (type === "request.timed_out") return { what: "waited in vain", who: facts.owner };
  if (type === "container.out_of_memory") return { what: "out of memory", why: facts.note };
  if (type === "pool.degraded") return { what: "degraded", why: facts.why };
  if (type !== "container.moved") return null;
  if (facts.to === "quarantined") return { what: "quarantined", why: facts.note || facts.reason };
  if (facts.to === "unhealthy") return { what: facts.fault ? `unhealthy: ${facts.fault.replaceAll("_", " ")}` : "unhealthy", why: facts.note };
  return facts.to === "resetting" && facts.reset_level ? { what: `${facts.reset_level} reset failed`, why: facts.note } : null;
}
