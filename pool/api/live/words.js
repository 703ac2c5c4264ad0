// Times, sizes and states as people read them.

export const STATES = [
  "available", "allocated", "cleaning", "resetting", "starting", "paused", "spare", "unhealthy", "quarantined", "stopped",
];
export const PRIORITIES = ["critical", "high", "normal", "low"];

/** Seconds as a short text: 0.3 s, 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h. */
export function span(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  const s = Math.max(seconds, 0);
  if (s < 0.95) return s < 0.095 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1)} s`;
  if (s < 9.95) return `${s.toFixed(1).replace(".0", "")} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  return s < 3600 ? pair(s, 60, "min", 1, "s") : s < 86400 ? pair(s, 3600, "h", 60, "min") : pair(s, 86400, "d", 3600, "h");
}

function pair(s, big, bigWord, small, smallWord) {
  const whole = Math.floor(s / big);
  const rest = Math.floor((s - whole * big) / small);
  return rest ? `${whole} ${bigWord} ${rest} ${smallWord}` : `${whole} ${bigWord}`;
}

/** How long something lasts so far: 12 s, 3:05 min, 2:10 h, 4 d 3 h. */
export function age(seconds) {
  const s = Math.max(Math.floor(seconds), 0);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${clockwise(s, 60, 1)} min` : s < 86400 ? `${clockwise(s, 3600, 60)} h` : pair(s, 86400, "d", 3600, "h");
}

const clockwise = (s, big, small) => `${Math.floor(s / big)}:${String(Math.floor((s % big) / small)).padStart(2, "0")}`;

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const clock = (ms) => CLOCK.format(ms);
export const hour = (ms) => SHORT.format(ms);

/** A moment: the time of today, with the day before that. */
export function moment(ms) {
  return Date.now() - ms < 20 * 3600e3 ? clock(ms) : DAY.format(ms);
}

export function megabytes(mb) {
  if (mb == null) return "";
  return mb >= 1024 ? `${(mb / 1024).toFixed(1).replace(".0", "")} GiB` : `${mb < 10 ? mb.toFixed(1) : Math.round(mb)} MiB`;
}

export function bytes(count) {
  return count < 1024 ? `${count} B` : count < 1024 ** 2 ? `${(count / 1024).toFixed(0)} KiB` : megabytes(count / 1024 ** 2);
}

export function many(count, one, several = `${one}s`) {
  return `${count} ${count === 1 ? one : several}`;
}

/** What a container is, in a few words, and for whom. */
export function situation(container) {
  if (container.state === "allocated") return `leased by ${container.owner ?? "somebody"}`;
  const state = container.draining ? `${container.state}, draining` : container.state;
  return container.note ? `${state} (${container.note})` : state;
}
