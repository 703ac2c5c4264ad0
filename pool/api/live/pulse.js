// When the state is asked for: soon after something happened, seldom otherwise, more and more seldom while nobody answers.

const LEAST_MS = 1_000;
const IDLE_MS = 10_000;
//: Without events, as for a client's token, the state is all there is.
const BLIND_MS = 3_000;
const LONGEST_PAUSE_MS = 8_000;

export class Pulse {
  #ask;
  #timer = 0;
  #due = 0;
  #busy = false;
  #again = false;
  #began = 0;
  #took = 0;
  #pause = 0;
  #stopped = false;
  blind = false;

  /** `ask` fetches the state, and resolves to whether it got it. */
  constructor(ask) {
    this.#ask = ask;
  }

  /** Something happened: ask as soon as that is not too often. A server that takes long is asked less often. */
  soon() {
    if (this.#pause) return; // nobody answers: events do not change that
    if (this.#busy) this.#again = true;
    else this.#at(Math.max(this.#began + Math.max(LEAST_MS, 4 * this.#took), performance.now()));
  }

  /** Ask now, whatever was before. */
  now() {
    this.#stopped = false;
    this.#pause = 0;
    if (this.#busy) this.#again = true;
    else this.#at(performance.now());
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  #at(moment) {
    if (this.#stopped || (this.#timer && this.#due <= moment)) return;
    clearTimeout(this.#timer);
    this.#due = moment;
    this.#timer = setTimeout(() => this.#beat(), Math.max(moment - performance.now(), 0));
  }

  async #beat() {
    this.#timer = 0;
    this.#busy = true;
    this.#again = false;
    this.#began = performance.now();
    const good = await this.#ask();
    this.#busy = false;
    this.#took = performance.now() - this.#began;
    this.#pause = good ? 0 : Math.min(Math.max(this.#pause * 2, LEAST_MS), LONGEST_PAUSE_MS);
    if (this.#pause) this.#at(performance.now() + this.#pause * (0.75 + Math.random() / 2));
    else if (this.#again) this.soon();
    else this.#at(this.#began + (this.blind ? Math.max(BLIND_MS, 4 * this.#took) : IDLE_MS));
  }
}
