// Nothing is done before somebody has read what it does, and to whom. What changed meanwhile is never acted upon blindly.

import { post } from "./api.js";
import { byId, make, say, show } from "./dom.js";
import { ACTIONS, POOL_ACTIONS } from "./actions.js";
import { situation } from "./words.js";

export class Confirm {
  #asked = null;
  #busy = false;

  /** `settled(problem)` is called after an attempt, with null if it was done. */
  constructor(model, settled) {
    this.model = model;
    this.settled = settled;
    this.dialog = byId("confirm");
    byId("confirm-cancel").addEventListener("click", () => this.dialog.close());
    byId("confirm-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#press();
    });
    this.dialog.addEventListener("close", () => { this.#asked = null; });
  }

  /** Ask whether something is to be done to a container, or without an id to the pool. */
  ask(pool, id, verb) {
    const action = (id ? ACTIONS : POOL_ACTIONS)[verb];
    this.#asked = { pool, id, verb, action, seen: null };
    byId("confirm-reason").value = "";
    byId("confirm-level").value = "soft";
    byId("confirm-force").checked = false;
    this.#say("");
    this.#look();
    this.dialog.showModal();
    (action.level ? byId("confirm-level") : byId("confirm-reason")).focus();
  }

  /** Look whether what is asked about is still what was seen. */
  set() {
    const asked = this.#asked;
    if (!asked || this.#busy) return;
    const now = this.#now();
    if (!now) this.#look();
    else if (asked.seen && differs(asked.seen, now)) this.#changed(asked, now);
  }

  #now() {
    const { pool, id } = this.#asked;
    return id ? this.model.container(pool, id)?.state : this.model.pools.find((each) => each.pool === pool);
  }

  /** Show what there is now; that is what a confirmation will be about. */
  #look() {
    const { action, id, pool } = this.#asked;
    const now = this.#now();
    this.#asked.seen = now;
    this.#asked.changed = false;
    say(byId("confirm-title"), id ? `${action.word} ${id}?` : `${action.word} ${pool}?`);
    const impossible = now ? action.not(now) : "it is not there any more";
    const is = id && now ? `It is ${situation(now)}. ` : "";
    say(byId("confirm-text"), impossible ? `That is not possible now: ${impossible}.` : is + action.says(now));
    const force = (!impossible && action.force?.(now)) || "";
    show(byId("confirm-level-field"), Boolean(action.level));
    show(byId("confirm-force-field"), Boolean(force));
    say(byId("confirm-force-text"), force);
    byId("confirm-force").required = Boolean(force);
    byId("confirm-reason").required = Boolean(action.needsReason);
    say(byId("confirm-reason-label"), action.needsReason ? "Why (it is shown, and goes into the audit)" : "Why (optional; goes into the audit)");
    say(byId("confirm-do"), action.word);
    byId("confirm-do").disabled = Boolean(impossible);
  }

  #changed(asked, now) {
    asked.changed = true;
    byId("confirm-do").disabled = false;
    byId("confirm-force").required = false;
    byId("confirm-reason").required = false;
    say(byId("confirm-do"), "Look again");
    const was = asked.id ? `it was ${situation(asked.seen)}, now it is ${situation(now)}` : now.draining ? "it drains now" : "it does not drain any more";
    this.#say(`${asked.id || asked.pool} changed meanwhile: ${was}. Nothing was done.`);
  }

  async #press() {
    const asked = this.#asked;
    if (!asked || this.#busy) return;
    if (asked.changed || !asked.seen) {
      this.#say("");
      this.#look();
      return;
    }
    this.#busy = true;
    byId("confirm-do").disabled = true;
    const problem = await this.#do(asked);
    this.#busy = false;
    this.settled(problem);
    if (this.#asked !== asked) return; // closed meanwhile
    byId("confirm-do").disabled = false;
    if (!problem) this.dialog.close();
    else {
      asked.seen = problem.status === 409 ? null : asked.seen; // what was seen is not so any more
      say(byId("confirm-do"), asked.seen ? asked.action.word : "Look again");
      this.#say([problem.message, problem.hint].filter(Boolean).join("; "));
    }
  }

  async #do({ pool, id, verb, action, seen }) {
    const body = {};
    const reason = byId("confirm-reason").value.trim();
    if (reason) body.reason = reason;
    if (action.level) body.level = byId("confirm-level").value;
    if (id) body.revision = seen.revision;
    if (action.force?.(seen)) body.force = byId("confirm-force").checked;
    const to = id ? `v1/containers/${encodeURIComponent(id)}/${verb}?pool=${encodeURIComponent(pool)}` : `v1/pools/${encodeURIComponent(pool)}/${verb}`;
    return post(to, body).then(() => null, (problem) => problem);
  }

  #say(text) {
    const notice = byId("confirm-notice");
    show(notice, text !== "");
    notice.replaceChildren(...(text ? [make("span", {}, text)] : []));
  }
}

/** Whether something is not any more what somebody has read. */
function differs(seen, now) {
  return seen.revision !== now.revision || seen.draining !== now.draining;
}
