// A test in Node that leases a browser over HTTP, with nothing but fetch:
//
//   poolctl serve config/playwright-mcp.yaml
//   node --test examples/fetch.mjs
//
// POOL_URL says where the manager's HTTP server is, POOL_TOKEN who asks, where that is needed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Session } from "./node/mcp.mjs";

const pool = process.env.POOL_URL ?? "http://127.0.0.1:8700";
const PAGE = "data:text/html,<title>Hello from a pool</title>";

async function ask(method, path, { token = process.env.POOL_TOKEN, body } = {}) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(pool + path, { method, headers, body: body && JSON.stringify(body) });
  const answer = response.status === 204 ? {} : await response.json();
  return { status: response.status, ...answer };
}

// Lease a container, keep the lease alive while the work lasts, and give the container back with its outcome.
async function withContainer(wish, work) {
  let lease = await ask("POST", "/v1/leases", { body: { owner: "fetch.mjs", wait_s: 30, ...wish } });
  while (lease.status === 202) lease = await ask("GET", `${lease.poll}&wait_s=30`);
  if (!lease.token) throw new Error(`${lease.code}: ${lease.detail}`);
  const path = `/v1/leases/${lease.id}`;
  const beat = setInterval(
    () => ask("POST", `${path}/heartbeat`, { token: lease.token }).catch((error) => console.error(error.message)),
    (lease.ttl_s * 1000) / 3,
  );
  let outcome = "failed";
  try {
    const result = await work(lease);
    outcome = "passed";
    return result;
  } finally {
    clearInterval(beat);
    await ask("DELETE", `${path}?outcome=${outcome}`, { token: lease.token });
  }
}

test("a leased browser opens a page", async () => {
  await withContainer({ pool: "playwright", priority: "high" }, async ({ url }) => {
    const session = await Session.open(url);
    try {
      assert.match(await session.call("browser_navigate", { url: PAGE }), /Page Title: Hello from a pool/);
    } finally {
      await session.close();
    }
  });
});

test("who gave a container back has no more say", async () => {
  const lease = await withContainer({ pool: "playwright" }, async (lease) => lease);

  const late = await ask("POST", `/v1/leases/${lease.id}/heartbeat`, { token: lease.token });

  assert.equal(late.status, 409);
});

test("two tests at once have two browsers, a third one waits", async () => {
  const held = new Set();
  const visit = () =>
    withContainer({ pool: "playwright" }, async ({ container, url }) => {
      assert.ok(!held.has(container.id), `${container.id} has two holders`);
      held.add(container.id);
      const session = await Session.open(url);
      await session.call("browser_navigate", { url: PAGE });
      await session.close();
      held.delete(container.id);
    });

  await Promise.all([visit(), visit(), visit()]);
});
