// An agent over the server of the protocol's own SDK for node, A2A 1.0: what it
// does is what the message says. It tells stderr which tasks are canceled.
//   PORT=N node agent.mjs MODULES
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const at = (path) => pathToFileURL(`${process.argv[2]}/@a2a-js/sdk/dist/${path}`);
const { AgentEvent, DefaultRequestHandler, JsonRpcTransportHandler, ServerCallContext, InMemoryTaskStore } = { ...(await import(at("server/index.js"))) };
const port = process.env.PORT;
const url = `http://127.0.0.1:${port}`;
const [COMPLETED, FAILED, CANCELED, WORKING, ASKS] = [3, 4, 5, 2, 6];

const part = (content) => ({ content, metadata: undefined, filename: "", mediaType: "" });
const text = (value) => part({ $case: "text", value });
const message = (r, parts) => ({
  messageId: crypto.randomUUID(), contextId: r.contextId, taskId: r.taskId, role: 2, parts, metadata: undefined, extensions: [], referenceTaskIds: [],
});
const now = (state, said) => ({ state, message: said, timestamp: new Date().toISOString() });
const running = new Map();

const executor = {
  async execute(r, bus) {
    const said = r.userMessage.parts[0].content.value;
    const status = (state, words) => bus.publish(AgentEvent.statusUpdate({
      taskId: r.taskId, contextId: r.contextId, status: now(state, words && message(r, [text(words)])), metadata: undefined,
    }));
    const artifact = (parts, append) => bus.publish(AgentEvent.artifactUpdate({
      taskId: r.taskId, contextId: r.contextId, append, lastChunk: false, metadata: undefined,
      artifact: { artifactId: "a", name: "", description: "", parts, metadata: undefined, extensions: [] },
    }));
    if (!r.task && said === "hello") {
      bus.publish(AgentEvent.message({ ...message(r, [text(`you said ${said} as ${r.context.tenant ?? r.request.tenant}`)]), taskId: "" }));
      return bus.finished();
    }
    bus.publish(AgentEvent.task(r.task ?? { id: r.taskId, contextId: r.contextId, status: now(WORKING), artifacts: [], history: [r.userMessage], metadata: undefined }));
    if (r.task) {
      status(COMPLETED, `booked for ${said}`);
    } else if (said === "ask") {
      status(ASKS, "For how many?");
    } else if (said === "fail") {
      status(FAILED, "no table left");
    } else if (said === "work") {
      status(WORKING, "looking");
      artifact([text("one, ")], false);
      artifact([text("two"), part({ $case: "data", value: { n: 3 } })], true);
      status(COMPLETED);
    } else if (said === "hang") {
      status(WORKING, "thinking");
      return new Promise((end) => running.set(r.taskId, () => { status(CANCELED); bus.finished(); end(); }));
    }
    bus.finished();
  },
  async cancelTask(id) {
    running.get(id)?.();
  },
};
const card = {
  name: "Front desk", description: "Books tables.", version: "1", defaultInputModes: ["text/plain"], defaultOutputModes: ["text/plain"],
  capabilities: { streaming: !process.argv.includes("asking"), pushNotifications: false, extensions: [], extendedAgentCard: false },
  skills: [{ id: "book", name: "Book", description: "a table", tags: ["table"] }],
  securitySchemes: { bearer: { httpAuthSecurityScheme: { scheme: "bearer" } } },
  supportedInterfaces: [
    { url: `${url}/rest`, protocolBinding: "HTTP+JSON", protocolVersion: "1.0" },
    { url: `${url}/old`, protocolBinding: "JSONRPC", protocolVersion: "0.3" },
    { url: `${url}/invoke`, protocolBinding: "JSONRPC", protocolVersion: "1.0", tenant: "acme" },
  ],
};
const rpc = new JsonRpcTransportHandler(new DefaultRequestHandler(card, new InMemoryTaskStore(), executor));
createServer(async (req, res) => {
  if (req.url === "/.well-known/agent-card.json") return res.setHeader("Content-Type", "application/json").end(JSON.stringify(card));
  if (req.url !== "/invoke" || req.headers["a2a-version"] !== "1.0") return res.writeHead(404).end();
  let body = "";
  for await (const chunk of req) body += chunk;
  const asked = JSON.parse(body);
  const answer = await rpc.handle(asked, new ServerCallContext({ requestedVersion: "1.0" }));
  if (asked.method === "CancelTask") console.error(`canceled ${answer.result?.status.state} ${answer.result?.id ?? JSON.stringify(answer.error)}`);
  if (!answer[Symbol.asyncIterator]) return res.setHeader("Content-Type", "application/json").end(JSON.stringify(answer));
  res.writeHead(200, { "Content-Type": "text/event-stream" });
  try {
    for await (const event of answer) res.write(`data: ${JSON.stringify(event)}\n\n`);
  } catch (e) {
    res.write(`data: ${JSON.stringify({ jsonrpc: "2.0", id: asked.id, error: JsonRpcTransportHandler.mapToJSONRPCError(e) })}\n\n`);
  }
  res.end();
}).listen(port, "127.0.0.1", () => console.error(`listening on port ${port}`));
