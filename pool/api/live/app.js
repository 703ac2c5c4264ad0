// Puts the page together: state and events come in, what changed is shown before the next picture.

import { get } from "./api.js";
import { Confirm } from "./confirm.js";
import { Details } from "./details.js";
import { beforePaint, byId, mark, say, show } from "./dom.js";
import { Failures, Feed } from "./feed.js";
import { Login } from "./login.js";
import { tick as tickMap } from "./map.js";
import { Model } from "./model.js";
import { PoolSections, conditions } from "./pools.js";
import { Pulse } from "./pulse.js";
import { Stream } from "./stream.js";
import { clock } from "./words.js";

const HISTORY_MS = 5 * 60_000;
const AUDIT_TAIL = 300;
//: What happened in this time before is fetched with the first events.
const LOOK_BACK_MS = 60_000;
const SLOW_MS = 3_000;
const HIDDEN_MS = 15_000;
const ANNOUNCE_MS = 10_000;
//: Nobody reads faster; a busy pool has hundreds of events a second.
const APART_MS = 250;

const model = new Model();
const confirm = new Confirm(model, (problem) => {
  if (!problem) details.say("It is asked for.");
  pulse.now();
});
const details = new Details(model, (pool, id, verb) => confirm.ask(pool, id, verb));
confirm.dialog.addEventListener("close", () => details.refocus());
const pools = new PoolSections(model, {
  openDetails: (pool, id) => details.open(pool, id),
  askPool: (pool, verb) => confirm.ask(pool, "", verb),
});
const feed = new Feed(model);
const failures = new Failures(model, (pool, id) => details.open(pool, id));
const login = new Login(model, anew);
const pulse = new Pulse(fetchState);
const stream = new Stream({
  opened: () => {
    model.setRole("operator");
    pulse.blind = false;
    if (model.link.state === "away") pulse.now();
    else pulse.soon();
  },
  events: (events) => {
    if (model.addEvents(events)) pulse.soon();
  },
  lost: (problem) => {
    if (problem?.status === 403) observe();
    pulse.blind = true;
    pulse.soon();
  },
});
let looks = 0;

/** Fetch the state; resolves to whether it came. */
async function fetchState() {
  const slow = setTimeout(() => away("The server does not answer"), SLOW_MS);
  const look = looks;
  try {
    const { pools: documents } = await get("v1/pools");
    if (look !== looks) return true; // somebody else looks by now
    model.setPools(documents);
    follow();
    return true;
  } catch (problem) {
    if (look !== looks) return true;
    refused(problem);
    return false;
  } finally {
    clearTimeout(slow);
  }
}

function refused(problem) {
  if (problem.status === 401) {
    pulse.stop(); // asking again without a token would only fill the audit
    model.setLink("locked");
    login.refused();
  } else {
    away(problem.code === "store_unavailable" ? "Redis is away" : problem.status ? problem.message : "The server does not answer");
  }
}

function away(why) {
  if (model.link.state !== "locked") model.setLink("away", why);
}

/** Hear of events, once it is known which pools there are, and fill in what happened before. */
let following = false;
async function follow() {
  if (following || document.hidden) return;
  following = true;
  const look = looks;
  if (model.seen === 0 && model.role !== "client") {
    let looksOnly = false;
    const { entries } = await get(`v1/audit?tail=${AUDIT_TAIL}`).catch((problem) => {
      looksOnly = problem.status === 403;
      return { entries: [] };
    });
    if (look !== looks) return;
    if (looksOnly) return observe();
    model.addEvents(entries.map(({ pool, at, type, event: id, facts, who }) => ({ id, pool, at, type, facts: { ...facts, ...(facts.owner === who || who === "manager" ? {} : { by: who }) } })).filter(({ id }) => id));
  }
  stream.start(Object.fromEntries(model.pools.map((pool) => [pool.pool, `${Math.floor(Date.parse(pool.at) - LOOK_BACK_MS)}-0`])));
  fetchHistory();
}

/** Go on with the state alone, which is all that a client may see. One refusal in the audit is enough to know. */
function observe() {
  model.setRole("client");
  model.setAnalytics("forbidden");
  pulse.blind = true;
  pulse.soon();
}

async function fetchHistory() {
  const look = looks;
  try {
    const { pools: found } = await get("v1/analytics?since=24h");
    if (look === looks) model.setAnalytics("there", found);
  } catch (problem) {
    const state = { 403: "forbidden", 404: "none" }[problem.status];
    // what was drawn before is better than nothing while the server is busy or away
    if (look === looks && (state || model.analytics.state === "unknown")) model.setAnalytics(state ?? "failed");
  }
}

/** Begin again, as somebody else. */
function anew() {
  looks += 1;
  following = false;
  stream.stop();
  for (const dialog of [confirm.dialog, details.dialog]) if (dialog.open) dialog.close();
  model.setLink("connecting");
  model.clear();
  login.set();
  pulse.now();
}

// Shown before the next picture, whatever changed until then.

const changed = new Set();
const paint = beforePaint(() => {
  const now = new Set(changed);
  changed.clear();
  if (now.has("pools") || now.has("link")) pools.set();
  if (now.has("events")) {
    feed.set();
    failures.set();
  }
  if (now.has("role")) {
    pools.setRole();
    feed.set();
  }
  if (now.has("analytics")) pools.setHistory();
  if (now.has("role") || now.has("link")) login.set();
  if (now.has("link")) paintLink();
  details.set();
  confirm.set();
  if (now.has("pools")) {
    say(byId("deployment"), [...new Set(model.pools.map((pool) => pool.deployment).filter(Boolean))].join(", "));
    announce();
  }
}, APART_MS);
model.watch((what) => {
  changed.add(what);
  paint();
});

const WORDS = { connecting: "connecting", live: "live", away: "away", locked: "needs a token" };

function paintLink() {
  const { state, since, why } = model.link;
  mark(byId("link"), "data-state", state);
  say(byId("link-word"), WORDS[state]);
  document.body.classList.toggle("stale", state === "away");
  show(byId("away"), state === "away");
  if (state === "away") say(byId("away-text"), `${why}, since ${clock(since)}. ${model.pools.length ? "This is how it was then." : ""} Trying again …`.replace("  ", " "));
}

//: For screen readers: what is the matter, when that changes, and no more often than somebody can listen.
let announced = "";
let announcedAt = 0;
function announce() {
  const text = model.pools.map((pool) => `${pool.pool}: ${conditions(pool).map((each) => each.text).join(" ") || "all is well"}`).join(" ");
  if (text === announced || Date.now() - announcedAt < ANNOUNCE_MS) return;
  announced = text;
  announcedAt = Date.now();
  say(byId("announce"), text);
}

setInterval(() => {
  if (document.hidden) return;
  if (model.link.state !== "away") {
    tickMap();
    pools.tick();
    details.tick();
  }
}, 1_000);
setInterval(() => {
  if (!document.hidden && model.link.state === "live" && model.role !== "client") fetchHistory();
}, HISTORY_MS);

// A browser opens only a few connections to one server: tabs that nobody looks at leave theirs to others.
let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => {
      stream.stop();
      pulse.stop();
      following = false;
    }, HIDDEN_MS);
  } else pulse.now();
});

byId("away-retry").addEventListener("click", () => pulse.now());
login.set();
pulse.now();
