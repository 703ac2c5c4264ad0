#!/usr/bin/env node
// Prints the title of a page, as seen by the browser of the container that `poolctl run` leased.
import { Session } from "./mcp.mjs";

const container = process.env.POOL_CONTAINER_URL;
const [page] = process.argv.slice(2);
if (!container || !page) {
  console.error("usage: poolctl run --pool playwright -- page-title URL");
  process.exit(2);
}
const session = await Session.open(container);
try {
  const answer = await session.call("browser_navigate", { url: page });
  console.log(answer.match(/^- Page Title: (.*)$/m)?.[1] ?? "(no title)");
} finally {
  await session.close();
}
