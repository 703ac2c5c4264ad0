// All that is known of one container, and what can be done to it.

import { get, save } from "./api.js";
import { ACTIONS } from "./actions.js";
import { byId, make, mark, say, show } from "./dom.js";
import { age, bytes, megabytes, moment, situation, span } from "./words.js";

export class Details {
  #open = null;
  #buttons = new Map();
  #shown = "";

  constructor(model, ask) {
    this.model = model;
    this.dialog = byId("details");
    byId("details-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => { this.#open = null; });
    for (const [verb, { word }] of Object.entries(ACTIONS)) {
      const button = make("button", { type: "button", click: () => ask(this.#open.pool, this.#open.id, verb) }, word);
      this.#buttons.set(verb, button);
      byId("details-actions").append(button);
    }
  }

  open(pool, id) {
    this.#open = { pool, id };
    this.#shown = "";
    this.say("");
    say(byId("details-title"), id);
    byId("details-evidence").replaceChildren();
    this.set();
    if (!this.dialog.open) this.dialog.showModal();
    byId("details-title").focus();
    this.#fetchEvidence(pool, id);
  }

  /** Show what is new of the container that is open. */
  set() {
    if (!this.#open) return;
    const known = this.model.container(this.#open.pool, this.#open.id);
    const pool = this.model.pools.find((each) => each.pool === this.#open.pool);
    this.#setButtons(known?.state);
    if (!known || !pool) {
      say(byId("details-state"), "It is not there any more.");
      return;
    }
    const { state } = known;
    mark(this.dialog, "data-state", state.state);
    this.tick();
    const version = JSON.stringify([state, known.resets.length, known.resets[0]?.ms, known.samples.at(-1)?.ms]);
    if (version === this.#shown) return;
    this.#shown = version;
    byId("details-facts").replaceChildren(...facts(known, pool).filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    show(byId("details-resets-none"), known.resets.length === 0);
    byId("details-resets").replaceChildren(...known.resets.map((reset) => make("li", { class: reset.clean ? "" : "bad" },
      make("time", { datetime: new Date(reset.ms).toISOString() }, moment(reset.ms)), " ",
      `${reset.level} ${span(reset.took)}, ${reset.reason.replaceAll("_", " ")}: ${reset.clean ? "clean" : "not clean"}${reset.note ? ` (${reset.note})` : ""}`)));
  }

  tick() {
    if (!this.#open) return;
    const known = this.model.container(this.#open.pool, this.#open.id);
    const pool = this.model.pools.find((each) => each.pool === this.#open.pool);
    if (!known || !pool) return;
    const passed = (this.model.now(pool) - Date.parse(known.state.since)) / 1000;
    say(byId("details-state"), `${situation(known.state)}, for ${age(passed)}`);
  }

  /** Say how an attempt went. */
  say(text) {
    say(byId("details-notice"), text);
    show(byId("details-notice"), text !== "");
  }

  /** Have the focus in here after a dialog above was closed, even if what had it cannot have it any more. */
  refocus() {
    if (this.#open && !this.dialog.contains(document.activeElement)) byId("details-title").focus();
  }

  #setButtons(state) {
    const operator = this.model.role === "operator";
    for (const [verb, button] of this.#buttons) {
      const not = !state ? "it is not there" : ACTIONS[verb].not(state);
      const disabled = !operator || Boolean(not);
      if (disabled && button === document.activeElement) byId("details-title").focus(); // it would be nowhere
      button.disabled = disabled;
      mark(button, "title", !operator ? "only an operator can" : not ? `not now: ${not}` : "");
    }
  }

  async #fetchEvidence(pool, id) {
    const none = byId("details-evidence-none");
    say(none, "Asking …");
    show(none, true);
    let text = "None was kept.";
    let bundles = [];
    try {
      ({ bundles } = await get(`v1/containers/${encodeURIComponent(id)}/evidence?pool=${encodeURIComponent(pool)}`));
    } catch (problem) {
      text = problem.status === 403 ? "Operators see the evidence." : problem.message;
    }
    if (this.#open?.id !== id || this.#open.pool !== pool) return;
    say(none, text);
    show(none, bundles.length === 0);
    byId("details-evidence").replaceChildren(...bundles.reverse().slice(0, 50).map((bundle) => evidenceRow(pool, id, bundle, (said) => this.say(said))));
  }
}

function evidenceRow(pool, id, bundle, tell) {
  const path = `v1/containers/${encodeURIComponent(id)}/evidence/${encodeURIComponent(bundle.id)}?pool=${encodeURIComponent(pool)}`;
  const fetchIt = () => save(path, `${bundle.id}.tar`).catch((problem) => tell(problem.message));
  const names = Object.keys(bundle.files ?? {});
  return make("li", {}, make("button", { type: "button", class: "link-like", click: fetchIt }, bundle.id),
    make("span", { class: "what" }, [bundle.cause, bundle.note, `${names.length} files, ${bytes(bundle.size_bytes)}`].filter(Boolean).join(" · ")));
}

function facts({ state, samples }, pool) {
  const at = (text) => text && moment(Date.parse(text));
  const limit = pool.facts.memory_mb ? ` of ${megabytes(pool.facts.memory_mb)}` : "";
  const most = samples.length > 1 ? `; ${megabytes(Math.max(...samples.map(({ memory }) => memory)))} at most since ${moment(samples[0].ms)}, as this page has seen it` : "";
  return [
    ["Holder", state.owner], ["Request", state.request_id], ["Priority", state.priority],
    ["Granted", at(state.granted_at)], ["Lapses without a heartbeat", at(state.expires_at)], ["Ends at the latest", at(state.deadline_at)],
    ["Says of itself", Object.keys(state.metadata).length ? JSON.stringify(state.metadata) : ""],
    ["Note", state.note], ["Conditions", state.conditions.join(", ").replaceAll("_", " ")],
    ["Memory", state.memory_mb == null ? "" : `${megabytes(state.memory_mb)}${limit}${most}`],
    ["Full in", state.full_in_s == null ? "" : span(state.full_in_s)],
    ["CPU", state.cpu_percent == null ? "" : `${state.cpu_percent} %`],
    ["Uses", String(state.uses)], ["Resets failed in a row", state.failures ? String(state.failures) : ""],
    ["Generation", `${state.generation}${state.born_at ? `, since ${at(state.born_at)}` : ""}`],
    ["Held last by", state.last_owner], ["Address", state.url || state.host], ["Engine’s name", state.name],
    ["Labels", Object.entries(state.labels).map(([name, value]) => `${name}=${value}`).join(", ")],
  ];
}
