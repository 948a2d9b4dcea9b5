// Calls an agent with both official SDKs of MCP: the one for the sessions of
// protocol versions until 2025-11-25, and the one for 2026-07-28, which speaks both.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { Client as NewClient, StreamableHTTPClientTransport as NewTransport } from "@modelcontextprotocol/client";
import { assert, cutting, finish, key, scene, until, url, v1 } from "./check.mjs";

const requestInit = { headers: { Authorization: `Bearer ${key}` } };
const reconnectionOptions = { initialReconnectionDelay: 20, maxReconnectionDelay: 200, reconnectionDelayGrowFactor: 1.5, maxRetries: 5 };
const at = (agent) => new URL(`${url}/v1/agents/${agent}/mcp`);

// The SDKs, with one way to use them: ask calls the agent's tool.
async function sdk1(agent, { elicit, capability = {}, fetch } = {}) {
  const client = new Client({ name: "test", version: "1" }, { capabilities: elicit ? { elicitation: capability } : {} });
  const asked = [];
  if (elicit) client.setRequestHandler(ElicitRequestSchema, ({ params }) => (asked.push(params), elicit(params)));
  const transport = new StreamableHTTPClientTransport(at(agent), { requestInit, fetch, reconnectionOptions });
  await client.connect(transport);
  const ask = (message, options, more = {}) => client.callTool({ name: agent, arguments: { message }, ...more }, undefined, { timeout: 300_000, ...options });
  return { client, transport, asked, ask };
}
const sdk2 = (mode) => async (agent, { elicit, fetch } = {}) => {
  const client = new NewClient({ name: "test", version: "1" }, { capabilities: elicit ? { elicitation: { form: {} } } : {}, versionNegotiation: { mode } });
  const asked = [];
  if (elicit) client.setRequestHandler("elicitation/create", ({ params }) => (asked.push(params), elicit(params)));
  const transport = new NewTransport(at(agent), { requestInit, fetch, reconnectionOptions });
  await client.connect(transport);
  const ask = (message, options, more = {}) => client.callTool({ name: agent, arguments: { message }, ...more }, { timeout: 300_000, ...options });
  return { client, transport, asked, ask };
};
const yes = () => ({ action: "accept", content: { decision: "approve" } });
const sessions = async (agent) => (await v1("GET", "/sessions?limit=100")).sessions.filter((s) => s.agent === `${agent}.yaml`);
// reason is why the run of a session's first message ended.
async function firstRun(session) {
  const { messages } = await v1("GET", `/sessions/${session}`);
  return messages.length ? v1("GET", `/sessions/${session}/runs/${messages[0].run}`) : {};
}

async function reason(session) {
  return (await firstRun(session)).reason;
}

for (const [name, connect] of [["first SDK", sdk1], ["second SDK, sessions", sdk2("legacy")], ["second SDK, 2026-07-28", sdk2("auto")]]) {
  await scene(`${name}: progress and result`, async () => {
    const { client, ask } = await connect("demo");
    assert.deepEqual((await client.listTools()).tools.map((t) => t.name), ["demo"]);
    const progress = [];
    const result = await ask("plan a trip", { onprogress: (p) => progress.push(p) });
    assert.match(result.content[0].text, /^Your plan/);
    assert.equal(result.structuredContent.status, "completed");
    assert.deepEqual(progress.map(({ progress, message }) => [progress, message]), [[1, "Let me write that down."], [2, "calls the tool create_todos"]]);
  });
  await scene(`${name}: the user approves, rejects, and does not decide`, async () => {
    let c = await connect("demo", { elicit: yes });
    let result = await c.ask("remember the milk");
    assert.match(result.content[0].text, /^The tool said: Remembered/);
    assert.equal(c.asked.length, 1);
    assert.match(c.asked[0].message, /the milk/);
    c = await connect("demo", { elicit: () => ({ action: "decline" }) });
    assert.match((await c.ask("remember the milk")).content[0].text, /rejected/);
    c = await connect("demo", { elicit: () => ({ action: "cancel" }) });
    result = await c.ask("remember the milk");
    if (name.endsWith("2026-07-28")) assert.match(result.content[0].text, /still waits in session/);
    else assert.equal(result.structuredContent.status, "waiting");
    c = await connect("demo");
    assert.equal((await c.ask("remember the milk")).structuredContent.needs[0].kind, "approval");
  });
  await scene(`${name}: a call is canceled`, async () => {
    const { ask } = await connect("slow");
    const before = new Set((await sessions("slow")).map((s) => s.id));
    const stop = new AbortController();
    const call = ask("count", { signal: stop.signal });
    let session;
    await until("the run goes on", async () => (session = (await sessions("slow")).find((s) => !before.has(s.id) && s.seq > 8)));
    stop.abort("enough");
    await assert.rejects(call, /enough/);
    await until("the run is canceled", async () => (await v1("GET", `/sessions/${session.id}`)).status === "idle");
    assert.equal(await reason(session.id), "canceled");
    assert.match((await firstRun(session.id)).cancel_reason, name.endsWith("2026-07-28") ? /hung up/ : /enough/);
  });
}

await scene("a call that is canceled at once", async () => {
  const { ask, client } = await sdk1("slow");
  const before = new Set((await sessions("slow")).map((s) => s.id));
  const stop = new AbortController();
  const call = ask("count", { signal: stop.signal });
  stop.abort("enough");
  await assert.rejects(call, /enough/);
  // Which of the two messages comes first is open; it may be that no run begins.
  const idle = async () => (await sessions("slow")).every((s) => before.has(s.id) || s.status === "idle");
  await until("the call is over", async () => (await idle()) && (await client.ping(), await idle()));
});

await scene("a stream that is cut all the time", async () => {
  const fetch = cutting(1);
  const { ask } = await sdk1("demo", { fetch });
  const progress = [];
  const result = await ask("plan a trip", { onprogress: (p) => progress.push(p.progress) });
  assert.equal(result.structuredContent.status, "completed");
  assert.deepEqual(progress, [1, 2]);
  assert.ok(fetch.cuts >= 3, `${fetch.cuts} cuts`);
});

await scene("a stream that is cut while the user thinks", async () => {
  const fetch = cutting(1);
  const elicit = async () => (await until("another stream is open", () => fetch.opened > fetch.cuts), yes());
  const { ask, asked } = await sdk1("demo", { fetch, elicit });
  assert.match((await ask("remember the milk")).content[0].text, /^The tool said: Remembered/);
  assert.equal(asked.length, 1);
});

await scene("somebody else decides while the user is asked", async () => {
  let session;
  const { ask } = await sdk1("demo", { elicit: () => new Promise(() => {}) });
  const before = new Set((await sessions("demo")).map((s) => s.id));
  const call = ask("remember the milk");
  await until("the run waits", async () => (session = (await sessions("demo")).find((s) => !before.has(s.id) && s.waiting)));
  const { messages } = await v1("GET", `/sessions/${session.id}`);
  const id = messages.flatMap((m) => m.message.tool_calls ?? [])[0].id;
  await v1("POST", `/sessions/${session.id}/tool-calls/${id}/decision`, { decision: "approve" });
  assert.match((await call).content[0].text, /^The tool said: Remembered/);
});

await scene("more model calls", async () => {
  const { ask, asked } = await sdk1("once", { elicit: () => ({ action: "accept", content: {} }) });
  assert.equal((await ask("think")).content[0].text, "Done.");
  assert.match(asked[0].message, /model calls/);
});

await scene("an answer that is none", async () => {
  const { ask } = await sdk1("demo", { elicit: () => ({ action: "accept", content: { decision: "perhaps" } }) });
  const result = await ask("remember the milk");
  assert.ok(result.isError);
  assert.match(result.content[0].text, /^invalid: decision:/);
});

await scene("the same call twice in a session is one run", async () => {
  const { transport } = await sdk1("demo");
  const headers = { ...requestInit.headers, "Content-Type": "application/json", Accept: "application/json, text/event-stream", "Mcp-Session-Id": transport.sessionId, "MCP-Protocol-Version": "2025-11-25" };
  const call = async (id, more = {}) => {
    const resp = await fetch(at("demo"), { method: "POST", headers: { ...headers, ...more }, body: JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "demo", arguments: { message: "hello" } } }) });
    return { status: resp.status, run: (await resp.text()).match(/"run":"([^"]+)"/)?.[1] };
  };
  const [a, b] = await Promise.all([call(7), call(7)]);
  const others = [await call(7), await call("7"), await call(8)];
  const stranger = await call(7, { "Mcp-Session-Id": (await sdk1("demo")).transport.sessionId });
  assert.ok(a.run && a.run === b.run && a.run === others[0].run);
  assert.equal(new Set([a, others[1], others[2], stranger].map((x) => x.run)).size, 4);
  assert.equal((await call(9, { "Mcp-Session-Id": "no-such-session" })).status, 404);
});

await scene("what cannot be resumed", async () => {
  const { transport } = await sdk1("demo");
  const get = async (more, agent = "demo") => (await fetch(at(agent), { headers: { ...requestInit.headers, Accept: "text/event-stream", "Mcp-Session-Id": transport.sessionId, ...more } })).status;
  assert.equal(await get({}), 405);
  assert.equal(await get({ "Last-Event-ID": "x" }), 400);
  assert.equal(await get({ "Last-Event-ID": "x", "MCP-Protocol-Version": "2026-07-28" }), 405);
  const ids = [];
  const post = await fetch(at("demo"), {
    method: "POST", headers: { ...requestInit.headers, "Content-Type": "application/json", Accept: "application/json, text/event-stream", "Mcp-Session-Id": transport.sessionId, "MCP-Protocol-Version": "2025-11-25" },
    body: JSON.stringify({ jsonrpc: "2.0", id: "x", method: "tools/call", params: { name: "demo", arguments: { message: "hello" } } }),
  });
  for (const [, id] of (await post.text()).matchAll(/^id: (.*)$/gm)) ids.push(id);
  assert.equal(ids.length, 2);
  assert.equal(await get({ "Last-Event-ID": ids[0] }), 200);
  assert.equal(await get({ "Last-Event-ID": ids[1] }), 405);
  assert.equal(await get({ "Last-Event-ID": ids[0] }, "talker"), 404);
  assert.equal(await get({ "Last-Event-ID": ids[0], "Mcp-Session-Id": "n.00000000-0000-4000-8000-000000000000" }), 404);
  assert.equal(await get({ "Last-Event-ID": ids[0], Authorization: "Bearer another-key-of-other" }), 404);
});

finish();
