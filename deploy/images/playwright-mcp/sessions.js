// Loaded into the MCP server before anything else. On SIGUSR2 it ends every session there is, as clients should have done
// themselves: a session that a client left open would go on after a soft reset, and be that client's way back.
const fs = require("fs");
const http = require("http");

const ENDED = "/tmp/.mcp-sessions-ended"; // mcp-end-sessions waits for it
const ID = "mcp-session-id";
const sessions = new Map(); // id -> the Host that its client was let in by
let server;

// Note each session that is opened: its id is in a header of the answer.
const { emit } = http.Server.prototype;
http.Server.prototype.emit = function (event, request, response) {
  if (event === "request") {
    server = this;
    const { writeHead } = response;
    response.writeHead = function (...all) {
      const result = writeHead.apply(this, all);
      const id = /^mcp-session-id: *(\S+)/im.exec(this._header)?.[1];
      if (id && request.method === "POST") sessions.set(id, request.headers.host);
      return result;
    };
    if (request.method === "DELETE") response.once("finish", () => sessions.delete(request.headers[ID]));
  }
  return emit.apply(this, arguments);
};

function end([id, host]) {
  const headers = { host, [ID]: id };
  return new Promise((done) => {
    const request = http.request({ port: server.address().port, method: "DELETE", path: "/mcp", headers, agent: false });
    request.on("response", (answer) => answer.resume().on("close", done)).on("error", done).end();
  });
}

process.on("SIGUSR2", async () => {
  await Promise.all([...sessions].map(end));
  sessions.clear();
  server?.closeAllConnections(); // event streams, too
  fs.writeFileSync(ENDED, "");
});
