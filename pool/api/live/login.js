// Who looks: asks for a token when the server wants one, and forgets it when asked to.

import { get, hasToken, useToken } from "./api.js";
import { byId, make, say, show } from "./dom.js";

export class Login {
  #refused = false;

  /** `changed()` is called when there is another identity. */
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.dialog = byId("login");
    byId("token-give").addEventListener("click", () => this.ask());
    byId("login-cancel").addEventListener("click", () => this.dialog.close());
    byId("token-forget").addEventListener("click", () => {
      useToken("");
      this.changed();
      byId("token-give").focus();
    });
    byId("login-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use(byId("login-token").value.trim());
    });
    this.dialog.addEventListener("close", () => { byId("login-token").value = ""; });
  }

  ask() {
    this.#say("");
    if (!this.dialog.open) this.dialog.showModal();
    byId("login-token").focus();
  }

  /** The server wants a token, or another one. Whoever closed the dialog is not asked again by itself. */
  refused() {
    if (this.#refused || this.dialog.open) return;
    this.#refused = true;
    this.ask();
    if (hasToken()) this.#say("The token is not valid any more.");
  }

  set() {
    const given = hasToken();
    show(byId("token-forget"), given);
    show(byId("token-give"), !given);
    say(byId("role"), { operator: "operator", client: "client: looks only" }[this.model.role] ?? "");
  }

  async #use(token) {
    if (!/^[\x21-\x7e]+$/.test(token)) return this.#say("A token is letters, digits and _; it begins with cpt_.");
    useToken(token);
    try {
      await get("v1/pools");
    } catch (problem) {
      if (problem.status === 401 || problem.status === 429) {
        useToken("");
        return this.#say([problem.message, problem.hint].filter(Boolean).join("; "));
      }
    }
    this.#refused = false;
    this.dialog.close();
    this.changed();
  }

  #say(text) {
    const notice = byId("login-notice");
    show(notice, text !== "");
    notice.replaceChildren(...(text ? [make("span", {}, text)] : []));
  }
}
