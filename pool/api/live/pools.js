// One section for each pool: how it is, its containers, who waits, and how the last hours were.

import { Rows, byId, copy, make, mark, say, show } from "./dom.js";
import { ContainerMap } from "./map.js";
import { counts } from "./model.js";
import { isTelling, plot } from "./plots.js";
import { PRIORITIES, age, many, megabytes, span } from "./words.js";

const QUEUE_SHOWN = 50;

class PoolSection {
  constructor(model, actions, pool) {
    this.model = model;
    this.node = copy("pool-template");
    const part = (selector) => this.node.querySelector(selector);
    const title = part("h2");
    say(title, pool.pool);
    title.id = `pool-${pool.pool}`;
    title.tabIndex = -1;
    mark(this.node, "aria-labelledby", title.id);
    mark(part(".map"), "aria-label", `Containers of ${pool.pool}`);
    this.facts = part(".pool-facts");
    this.drain = make("button", { type: "button", click: () => actions.askPool(this.pool.pool, this.pool.draining ? "resume" : "drain") });
    part(".pool-actions").append(this.drain);
    this.banners = new Rows(part(".banners"), () => ({ node: make("li") }));
    this.tiles = new Rows(part(".tiles"), () => tile());
    this.map = new ContainerMap(this.node, model, actions.openDetails);
    this.queueTitle = part(".queue h3");
    this.queueNone = part(".queue .none");
    this.queueMore = part(".queue .more");
    this.queue = new Rows(part(".queue ol"), () => waiting());
    this.forecast = new Rows(part(".forecast dl"), () => tile());
    this.adviceBox = part(".advice");
    this.advice = new Rows(part(".advice ul"), () => recommended());
    this.historyNone = part(".history .none");
    this.plots = part(".plots");
  }

  leave() {
    this.map.leave();
  }

  set(pool) {
    this.pool = pool;
    say(this.facts, factWords(pool));
    say(this.drain, pool.draining ? "Resume the pool" : "Drain the pool");
    this.banners.set(conditions(pool), ({ kind }) => kind, (row, { kind, text }) => {
      mark(row.node, "class", kind);
      say(row.node, text);
    });
    setTiles(this.tiles, figures(pool));
    this.map.set(pool);
    setTiles(this.forecast, PRIORITIES.map((priority) => ({ name: priority, value: forecastWords(pool, priority) })));
    this.#setQueue(pool);
    this.tick();
  }

  setRole(role) {
    this.drain.disabled = role !== "operator";
  }

  /** Let waits go on. */
  tick() {
    const passed = (this.model.now(this.pool) - Date.parse(this.pool.at)) / 1000;
    for (const row of this.queue.values()) {
      say(row.waited, `waits ${age(row.entry.waited_s + passed)}`);
      const left = row.entry.estimated_wait_s == null ? null : row.entry.estimated_wait_s - passed;
      say(row.left, left == null ? "no end in sight" : left < 1 ? "any moment" : `about ${span(left)} to go`);
    }
  }

  setHistory({ state, pools }) {
    const { hours = [], recommendations = [] } = pools.get(this.pool.pool) ?? {};
    this.#setAdvice(recommendations);
    const telling = isTelling(hours);
    const why = { unknown: "Asking …", none: "This server keeps no history.", forbidden: "Operators see the history.", failed: "The server did not tell it." };
    say(this.historyNone, why[state] ?? "Nothing yet: the first hour is not over, or nobody used the pool.");
    show(this.historyNone, !telling);
    show(this.plots, telling);
    const version = JSON.stringify(hours);
    if (telling && version !== this.history) plot(this.plots, hours.slice(-24));
    this.history = version;
  }

  #setAdvice(recommendations) {
    show(this.adviceBox, recommendations.length > 0);
    this.advice.set(recommendations, ({ title }) => title, (row, { severity, title, action }) => {
      mark(row.node, "data-severity", severity);
      say(row.severity, severity);
      say(row.title, title);
      say(row.action, action);
    });
  }

  #setQueue({ queue }) {
    say(this.queueTitle, queue.length ? `Queue: ${many(queue.length, "request")}` : "Queue");
    show(this.queueNone, !queue.length);
    this.queue.set(queue.slice(0, QUEUE_SHOWN), (entry) => entry.request_id ?? `place ${entry.position}`, (row, entry) => {
      row.entry = entry;
      mark(row.node, "data-priority", entry.effective_priority);
      say(row.position, String(entry.position));
      say(row.owner, entry.owner ?? "somebody");
      say(row.priority, entry.priority === entry.effective_priority ? entry.priority : `${entry.priority}, by now ${entry.effective_priority}`);
      say(row.why, entry.waits_for);
    });
    show(this.queueMore, queue.length > QUEUE_SHOWN);
    say(this.queueMore, `and ${queue.length - QUEUE_SHOWN} more`);
  }
}

function tile() {
  const name = make("dt");
  const value = make("dd");
  return { node: make("div", {}, name, value), name, value };
}

function setTiles(rows, items) {
  rows.set(items, ({ name }) => name, (row, { name, value, tone = "" }) => {
    say(row.name, name);
    say(row.value, value);
    mark(row.node, "class", tone);
  });
}

const waiting = () => lines("position", "owner", "priority", "waited", "left", "why");
const recommended = () => lines("severity", "title", "action");

/** An item of a list, with a span of each of these classes. */
function lines(...names) {
  const cells = {};
  for (const name of names) cells[name] = make("span", { class: name });
  return { node: make("li", {}, ...Object.values(cells)), ...cells };
}

function factWords({ facts, places, containers, deployment, manager }) {
  const parts = [many(containers.length, "container")];
  if (places < containers.length) parts.push(`${many(places, "place")}, the rest spares`);
  if (facts.memory_mb) parts.push(`${megabytes(facts.memory_mb)} each`);
  if (facts.cpus) parts.push(`${facts.cpus} CPU each`);
  if (deployment) parts.push(`deployment ${deployment}`);
  if (manager) parts.push(`managed by ${manager}`);
  return parts.join(" · ");
}

function figures(pool) {
  const found = counts(pool);
  const count = (...states) => states.reduce((sum, state) => sum + (found.get(state) ?? 0), 0);
  const broken = count("unhealthy", "quarantined", "stopped");
  const longest = Math.max(...pool.queue.map((entry) => entry.waited_s), 0);
  return [
    { name: "free", value: String(count("available", "paused")), tone: count("available", "paused") ? "good" : "" },
    { name: "in use", value: String(count("allocated")) },
    { name: "being cleaned", value: String(count("cleaning", "resetting", "starting")) },
    { name: "out of order", value: String(broken), tone: broken ? "bad" : "" },
    { name: "waiting", value: String(pool.queue.length), tone: pool.queue.length ? "busy" : "" },
    { name: "longest wait", value: pool.queue.length ? age(longest) : "–" },
    { name: "mean use", value: span(pool.mean_held_s) },
    { name: "mean reset", value: span(pool.mean_reset_s) },
  ];
}

function forecastWords(pool, priority) {
  const forecast = pool.forecast_s?.[priority];
  if (pool.draining) return "not served";
  if (forecast === undefined) return "not known";
  if (forecast === null) return "no end in sight";
  return forecast < 0.5 ? "none" : `about ${span(forecast)}`;
}

/** What is the matter with a pool, worst first. */
export function conditions(pool) {
  const found = [];
  if (!pool.manager) found.push({ kind: "bad", text: "No manager is active: nothing is cleaned, recovered or started. Leases go on." });
  if (pool.degraded) found.push({ kind: "warn", text: `Degraded: ${pool.degraded}. New requests of low priority are refused.` });
  if (pool.draining) found.push({ kind: "info", text: "Draining: no new request is taken until the pool is resumed." });
  return found;
}

/** All sections. */
export class PoolSections {
  #rows;
  #jumps;

  constructor(model, actions) {
    this.model = model;
    this.#rows = new Rows(byId("pools"), (pool) => new PoolSection(model, actions, pool));
    this.#jumps = new Rows(byId("jumps"), (pool) => ({ node: make("a", { href: `#pool-${pool.pool}` }, pool.pool) }));
  }

  set() {
    const { pools, link } = this.model;
    show(byId("empty"), pools.length === 0);
    say(byId("empty"), link.state === "live" ? "There is no pool that you may see." : "Asking the server …");
    this.#rows.set(pools, (pool) => pool.pool, (section, pool) => {
      const fresh = !section.pool;
      section.set(pool);
      if (fresh) {
        section.setRole(this.model.role);
        section.setHistory(this.model.analytics);
      }
    });
    this.#jumps.set(pools.length > 1 ? pools : [], (pool) => pool.pool, () => undefined);
  }

  setRole() {
    for (const section of this.#rows.values()) section.setRole(this.model.role);
  }

  setHistory() {
    for (const section of this.#rows.values()) section.setHistory(this.model.analytics);
  }

  tick() {
    for (const section of this.#rows.values()) section.tick();
  }
}
