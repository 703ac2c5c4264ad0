// The least of the Model Context Protocol that a test needs, with nothing but fetch.

export class Session {
  #url;
  #headers = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
  #calls = 0;

  // Open a session with the server at the URL of a container.
  static async open(containerUrl) {
    const session = new Session();
    session.#url = `${containerUrl.replace(/\/$/, "")}/mcp`;
    await session.#ask("initialize", {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "containerpool-example", version: "1" },
    });
    await session.#post({ method: "notifications/initialized" });
    return session;
  }

  // Use a tool; returns its text.
  async call(name, args = {}) {
    const { content, isError } = await this.#ask("tools/call", { name, arguments: args });
    const text = content.map((part) => part.text ?? "").join("\n");
    if (isError) throw new Error(`${name}: ${text}`);
    return text;
  }

  // End the session, and with it its browser.
  async close() {
    await fetch(this.#url, { method: "DELETE", headers: this.#headers });
  }

  async #ask(method, params) {
    const response = await this.#post({ id: ++this.#calls, method, params });
    const body = await response.text();
    // A stream of one event, or the answer alone.
    const data = body.startsWith("{") ? body : body.split("\n").find((line) => line.startsWith("data: ")).slice(6);
    const { result, error } = JSON.parse(data);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  async #post(message) {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: this.#headers,
      body: JSON.stringify({ jsonrpc: "2.0", ...message }),
    });
    if (!response.ok) throw new Error(`${message.method}: ${response.status} ${await response.text()}`);
    this.#headers["Mcp-Session-Id"] ??= response.headers.get("Mcp-Session-Id");
    return response;
  }
}
