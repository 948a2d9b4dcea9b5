// Drives agents with the official client of AG-UI.
//   node client.mjs MODULES URL KEY
// prints one JSON object with what came of each scene.
import { pathToFileURL } from "node:url";
import { randomUUID } from "node:crypto";

// The client tells the console of errors that the scenes want, and lets the loss
// of a connection also be a rejection that nobody handles.
console.error = () => {};
process.on("unhandledRejection", (e) => { if (!String(e).includes("the connection was lost")) throw e; });

const [modules, url, key] = process.argv.slice(2);
const { HttpAgent, buildResumeArray } = await import(pathToFileURL(`${modules}/@ag-ui/client/dist/index.mjs`));
const headers = { Authorization: `Bearer ${key}` };
const open = (agent, threadId = randomUUID(), more = {}) => new HttpAgent({ url: `${url}/v1/agui/${agent}`, threadId, headers, ...more });

// run says something (or answers) and returns the events and the end.
async function run(agent, say, parameters = {}) {
  if (say) agent.addMessage({ id: randomUUID(), role: "user", content: say });
  const events = [];
  const interrupts = [];
  let error;
  try {
    await agent.runAgent(parameters, {
      onEvent: ({ event }) => void events.push(event),
      onRunFinishedEvent: ({ event }) => void interrupts.push(...(event.outcome?.interrupts ?? [])),
    });
  } catch (e) {
    error = String(e.message ?? e);
  }
  return { types: events.map((e) => e.type), events, interrupts, error };
}
const plain = (messages) => messages.map(({ id, role, content, toolCalls }) => ({ id, role, content, toolCalls }));
const scenes = {};

// A text, a tool, what was thought; then a second turn, in which nothing is said again.
const first = open("demo");
scenes.plan = await run(first, "plan a trip");
scenes.hello = await run(first, "hello");
scenes.thread = plain(first.messages);

// Another client of the same thread has nothing and gets everything.
const second = open("demo", first.threadId);
scenes.again = await run(second);
scenes.againThread = plain(second.messages);

// A tool that asks: rejected, then approved with other arguments.
const asks = open("demo");
scenes.asks = await run(asks, "remember the milk");
scenes.asksThread = plain(asks.messages);
const stranger = open("demo", asks.threadId);
scenes.watches = await run(stranger);
const rude = open("demo", asks.threadId);
scenes.refused = await run(rude, "and now?");
const partial = open("demo", asks.threadId);
scenes.wrong = await run(partial, undefined, { resume: [{ interruptId: "approval:other", status: "resolved", payload: { approved: true } }] });
const answer = (agent, payload) => ({ resume: buildResumeArray(agent.pendingInterrupts, Object.fromEntries(agent.pendingInterrupts.map((i) => [i.id, { status: "resolved", payload }]))) });
const yes = answer(asks, { approved: true, editedArgs: { memory: "the bread" } });
const runId = randomUUID();
scenes.approved = await run(asks, undefined, { ...yes, runId });
scenes.replayed = await run(open("demo", asks.threadId), undefined, { ...yes, runId });
scenes.approvedThread = plain(asks.messages);
const no = open("demo");
await run(no, "remember the milk");
scenes.rejected = await run(no, undefined, { resume: no.pendingInterrupts.map((i) => ({ interruptId: i.id, status: "cancelled" })) });

// The limit of model calls.
const once = open("once");
scenes.limit = await run(once, "think");
scenes.more = await run(once, undefined, answer(once, true));

// A model that fails, and an agent that is not there.
scenes.failed = await run(open("talker"), "fail");
scenes.nobody = await run(open("nobody"), "hello");
scenes.tools = await run(open("demo"), "hello", { tools: [{ name: "f", description: "d" }] });

// A connection that is lost in the middle: the same request again is the same run,
// whole; and so is a look at the thread.
const lossy = open("talker", undefined, {
  fetch: async (u, init) => {
    const resp = await fetch(u, init);
    const reader = resp.body.getReader();
    let left = 8000;
    return new Response(new ReadableStream({
      async pull(c) {
        const { done, value } = await reader.read();
        if (done) return c.close();
        left -= value.length;
        c.enqueue(value);
        if (left < 0) { await reader.cancel(); c.error(new Error("the connection was lost")); }
      },
    }), { status: resp.status, headers: resp.headers });
  },
});
const lostRun = randomUUID();
scenes.lost = await run(lossy, "count", { runId: lostRun });
const back = open("talker", lossy.threadId);
back.setMessages(lossy.messages.filter((m) => m.role === "user"));
const live = open("talker", lossy.threadId);
[scenes.back, scenes.live] = await Promise.all([run(back, undefined, { runId: lostRun }), run(live)]);
scenes.backThread = plain(back.messages);
scenes.liveThread = plain(live.messages);
for (const name of ["lost", "back", "live"]) delete scenes[name].events;

console.log(JSON.stringify(scenes));
