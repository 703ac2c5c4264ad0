// Calls of the API. The token is kept for this tab only, and goes into one header, never into an address.

const KEPT_AS = "containerpool.token";
const PATIENCE_MS = 15_000;

/** What the API, or the way to it, has against a call. `status` is 0 where nobody answered. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || "the server does not answer");
    this.status = status;
    this.code = body.code || "unreachable";
    this.hint = body.hint || "";
    this.retryAfterS = body.retry_after_s || 0;
  }
}

let token = sessionStorage.getItem(KEPT_AS) || "";

export const hasToken = () => token !== "";

export function useToken(text) {
  token = text;
  if (text) sessionStorage.setItem(KEPT_AS, text);
  else sessionStorage.removeItem(KEPT_AS);
}

const address = (path) => new URL(path, document.baseURI);

/** Send a request; resolves to the response once its head is there. Throws a Problem for whatever is no success. */
async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path), {
      method, signal, headers: all, body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", credentials: "omit", redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new Problem(0, {});
  }
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => ({ detail: `the server answers ${response.status}` })));
}

/** Fetch JSON. */
export async function get(path, patienceMs = PATIENCE_MS) {
  const signal = AbortSignal.timeout(patienceMs);
  return read(await send(path, { signal }));
}

/** Send JSON, and fetch the answer's. */
export async function post(path, body) {
  return read(await send(path, { method: "POST", body, signal: AbortSignal.timeout(PATIENCE_MS) }));
}

async function read(response) {
  try {
    return await response.json();
  } catch {
    throw new Problem(0, { detail: "the answer broke off" });
  }
}

/** Fetch a file, and have the browser save it: a link could not carry the token. */
export async function save(path, name) {
  const blob = await (await send(path, { signal: AbortSignal.timeout(60_000) })).blob();
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Open a stream of events; resolves to its bytes. */
export async function open(path, headers, signal) {
  return (await send(path, { headers: { Accept: "text/event-stream", ...headers }, signal })).body;
}
