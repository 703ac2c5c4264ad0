// What operators can do to a container or a pool: when it is possible, and what it will do to whom.

import { many, situation } from "./words.js";

const holder = ({ owner }) => owner ?? "somebody";
const leased = ({ state }) => state === "allocated";
const CAN_BE_RESET = new Set(["available", "spare", "paused", "unhealthy", "quarantined", "stopped"]);
const kept = ({ state, draining, reason }) => state === "paused" && draining && reason === "manual";

/** Each: its word on the button, `not` says why it is not possible now, `says` what it does. */
export const ACTIONS = {
  drain: {
    word: "Drain",
    not: ({ draining }) => draining && "it is draining already",
    says: (it) => (leased(it) ? `${holder(it)} keeps it until the lease ends. After that nobody gets it until it is resumed.` : "Nobody gets it until it is resumed."),
  },
  resume: {
    word: "Resume",
    not: ({ draining }) => !draining && "it is not draining",
    says: () => "It is lent again, to whoever waits first.",
  },
  reset: {
    word: "Reset",
    level: true,
    not: (it) => !CAN_BE_RESET.has(it.state) && `it is ${situation(it)}`,
    says: () => "It is cleaned and verified before anybody gets it. Nobody holds it now.",
  },
  quarantine: {
    word: "Quarantine",
    needsReason: true,
    force: (it) => leased(it) && `Take it away from ${holder(it)}`,
    not: ({ state }) => (state === "quarantined" || state === "stopped") && `it is ${state} already`,
    says: (it) => (leased(it)
      ? `${holder(it)} loses it at once and is told so. It stays as it is, for you to look at, until it is restored.`
      : "It is taken out of rotation and stays as it is, for you to look at, until it is restored."),
  },
  restore: {
    word: "Restore",
    not: ({ state }) => state !== "quarantined" && "it is not quarantined",
    says: () => "It is made anew, verified and lent again. What is in it now is lost.",
  },
  pause: {
    word: "Pause",
    not: (it) => (kept(it) ? "it is paused already" : !["available", "paused"].includes(it.state) && `it is ${situation(it)}, not free`),
    says: () => "It is frozen and lent to nobody, whoever waits, until it is unpaused.",
  },
  unpause: {
    word: "Unpause",
    not: ({ state }) => state !== "paused" && "it is not paused",
    says: () => "It is lent again.",
  },
};

export const POOL_ACTIONS = {
  drain: {
    word: "Drain the pool",
    not: ({ draining }) => draining && "it is draining already",
    says: ({ queue, containers }) => {
      const held = containers.filter(leased);
      const who = [...new Set(held.map(holder))];
      const holders = who.length ? ` (${who.slice(0, 3).join(", ")}${who.length > 3 ? " and others" : ""})` : "";
      return `${many(queue.length, "request")} in the queue ${queue.length === 1 ? "is" : "are"} sent away, and new ones are refused. ${many(held.length, "lease")}${holders} ${held.length === 1 ? "goes" : "go"} on until given back. It lasts until the pool is resumed.`;
    },
  },
  resume: {
    word: "Resume the pool",
    not: ({ draining }) => !draining && "it is not draining",
    says: () => "New requests are taken again.",
  },
};
