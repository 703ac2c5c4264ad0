// The stream of events, read with fetch, since EventSource cannot send a token. It comes back by itself, where it was.

import { open } from "./api.js";

//: The server says something at least each 15 s.
const SILENCE_MS = 40_000;
const LONGEST_LINE = 1 << 20;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 20_000;
//: Whoever was away for longer begins anew: the audit and the state say the rest.
const WORTH_CATCHING_UP_MS = 5 * 60_000;

export class Stream {
  #on;
  #position = "";
  #positionAt = 0;
  #running = null;
  #timer = 0;
  #pause = FIRST_PAUSE_MS;

  /** `on` has: opened(), events(list), lost(problem). A problem that trying again cannot mend ends the stream. */
  constructor(on) {
    this.#on = on;
  }

  /** Begin, after these events if no other are known: pool → id of its last one. */
  start(known) {
    if (this.#running || this.#timer) return;
    if (!this.#position || Date.now() - this.#positionAt > WORTH_CATCHING_UP_MS) {
      this.#position = Object.entries(known).map(([pool, id]) => `${pool}:${id}`).join(",");
    }
    this.#run();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#running?.abort();
    this.#running = null;
  }

  async #run() {
    const abort = new AbortController();
    this.#running = abort;
    let problem = null;
    try {
      const headers = this.#position ? { "Last-Event-ID": this.#position } : {};
      const body = await open("v1/events", headers, abort.signal);
      this.#on.opened();
      this.#pause = FIRST_PAUSE_MS;
      await this.#read(body.getReader(), abort);
    } catch (error) {
      problem = error;
    }
    if (this.#running !== abort) return; // stopped on purpose
    this.#running = null;
    this.#on.lost(problem);
    if (problem?.status >= 400 && problem.status < 500 && problem.status !== 429) {
      if (problem.status === 422) this.#position = ""; // a position that this server does not know
      if (problem.status !== 422) return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#run();
    }, this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
  }

  async #read(reader, abort) {
    const decoder = new TextDecoder();
    let rest = "";
    let watch = 0;
    try {
      for (;;) {
        watch = setTimeout(() => abort.abort(new DOMException("silence", "TimeoutError")), SILENCE_MS);
        const { done, value } = await reader.read();
        clearTimeout(watch);
        if (done) return;
        rest += decoder.decode(value, { stream: true });
        const end = rest.lastIndexOf("\n\n");
        if (end >= 0) {
          this.#take(rest.slice(0, end));
          rest = rest.slice(end + 2);
        }
        if (rest.length > LONGEST_LINE) throw new Error("an event without an end");
      }
    } finally {
      clearTimeout(watch);
      reader.cancel().catch(() => undefined); // it is over, whatever the reason
    }
  }

  #take(text) {
    const events = [];
    for (const block of text.split("\n\n")) {
      let data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("data: ")) data += line.slice(6);
        else if (line.startsWith("id: ")) this.#position = line.slice(4);
      }
      if (data) events.push(JSON.parse(data));
    }
    this.#positionAt = Date.now();
    if (events.length) this.#on.events(events);
  }
}
