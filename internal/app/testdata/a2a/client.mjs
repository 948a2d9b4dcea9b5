// Drives agents with the official clients of A2A, those of 0.3 and of 1.0.
//   node client.mjs MODULES URL KEY OTHERKEY
// prints one JSON object with what came of each scene, by client.
import { pathToFileURL } from "node:url";
import { randomUUID } from "node:crypto";

const [modules, url, key, otherKey] = process.argv.slice(2);
const load = (sdk, path) => import(pathToFileURL(`${modules}/${sdk}/dist/${path}`));
const v0 = await load("sdk-v0", "client/index.js");
const v1 = await load("sdk-v1", "client/index.js");

// cutter is a fetch that ends an answer after some bytes, as a connection that is
// lost; 0 never does.
const fetchWith = (k, cutter = { after: 0 }) => async (input, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set("Authorization", `Bearer ${k}`);
  const answer = await fetch(input, { ...init, headers });
  if (!cutter.after || !answer.body) return answer;
  let left = cutter.after;
  const cut = answer.body.pipeThrough(new TransformStream({
    transform(chunk, out) {
      left -= chunk.length;
      if (left < 0) out.error(new Error("the connection was lost"));
      else out.enqueue(chunk);
    },
  }));
  return new Response(cut, { status: answer.status, headers: answer.headers });
};
const cardOf = (agent) => [`${url}/v1/agents/${agent}/a2a/`, ".well-known/agent-card.json"];

// clients make a client of an agent: one API for all of them. What differs between
// the versions is said here and nowhere else.
const clients = {
  v0: {
    async open(agent, k, cutter) {
      const fetchImpl = fetchWith(k, cutter);
      const factory = new v0.ClientFactory({
        transports: [new v0.JsonRpcTransportFactory({ fetchImpl })], cardResolver: new v0.DefaultAgentCardResolver({ fetchImpl }),
      });
      return factory.createFromUrl(...cardOf(agent));
    },
    message: (text, at, more = {}) => ({ message: { kind: "message", messageId: randomUUID(), role: "user", parts: [{ kind: "text", text }], ...at }, ...more }),
    quick: { configuration: { blocking: false } },
    states: { asked: "input-required", done: "completed", canceled: "canceled", working: "working" },
    state: (status) => status.state,
    texts: (parts) => parts.filter((p) => p.kind === "text").map((p) => p.text).join(""),
    data: (parts) => parts.find((p) => p.kind === "data")?.data,
    event: (e) => e.kind === "task" ? { task: e } : e.kind === "status-update" ? { status: e.status } : { artifact: e.artifact },
  },
};
const one = (...transports) => ({
  async open(agent, k, cutter) {
    const fetchImpl = fetchWith(k, cutter);
    const factory = new v1.ClientFactory({
      transports: transports.map((T) => new T({ fetchImpl })), cardResolver: new v1.DefaultAgentCardResolver({ fetchImpl }),
    });
    return factory.createFromUrl(...cardOf(agent));
  },
  message: (text, at, more = {}) => ({
    tenant: "", metadata: undefined, configuration: undefined,
    message: { messageId: randomUUID(), contextId: "", taskId: "", role: 1, parts: [{ content: { $case: "text", value: text }, metadata: undefined, filename: "", mediaType: "" }], metadata: undefined, extensions: [], referenceTaskIds: [], ...at },
    ...more,
  }),
  quick: { configuration: { acceptedOutputModes: [], returnImmediately: true } },
  states: { asked: 6, done: 3, canceled: 5, working: 2 },
  state: (status) => status.state,
  texts: (parts) => parts.filter((p) => p.content?.$case === "text").map((p) => p.content.value).join(""),
  data: (parts) => parts.find((p) => p.content?.$case === "data")?.content.value,
  event: (e) => {
    const { $case, value } = e.payload;
    return $case === "task" ? { task: value } : $case === "statusUpdate" ? { status: value.status } : { artifact: value.artifact };
  },
});
clients.v1 = one(v1.JsonRpcTransportFactory);
clients.v1rest = one(v1.RestTransportFactory);

const fails = async (doing) => {
  try {
    await doing();
    return "";
  } catch (e) {
    return `${e.name}: ${e.message}`;
  }
};
const artifacts = (c, task) => (task.artifacts ?? []).map((a) => c.texts(a.parts)).join("|");

async function drive(c) {
  const s = {};
  const named = (state) => Object.keys(c.states).find((n) => c.states[n] === state) ?? String(state);
  const view = (task) => ({ id: task.id, context: task.contextId, state: named(c.state(task.status)), said: artifacts(c, task), history: (task.history ?? []).map((m) => c.texts(m.parts)) });
  const demo = await c.open("demo", key);
  const talker = await c.open("talker", key);

  // A message; a task that asks; an answer that is none, the answer, and the answer
  // again, which changes nothing.
  s.hello = view(await demo.sendMessage(c.message("hello", {})));
  const asked = await demo.sendMessage(c.message("remember the milk", {}));
  s.asked = view(asked);
  s.needs = c.data(asked.status.message.parts).needs;
  const at = { taskId: asked.id, contextId: asked.contextId };
  s.wrong = await fails(() => demo.sendMessage(c.message("perhaps", at)));
  s.strayed = await fails(() => demo.sendMessage(c.message("approve", { ...at, contextId: s.hello.context })));
  const yes = c.message("approve", at);
  s.done = view(await demo.sendMessage(yes));
  s.again = view(await demo.sendMessage(yes));
  s.over = await fails(() => demo.sendMessage(c.message("more", at)));
  s.got = view(await demo.getTask({ tenant: "", id: asked.id }));
  s.short = view(await demo.getTask({ tenant: "", id: asked.id, historyLength: 0 }));

  // A stream to its end.
  const follow = async (events, into, stop) => {
    for await (const e of events) {
      const { task, status, artifact } = c.event(e);
      if (task) Object.assign(into, { id: task.id, said: artifacts(c, task), tasks: (into.tasks ?? 0) + 1 });
      if (artifact) into.said += c.texts(artifact.parts);
      if (status) into.states = [...(into.states ?? []), named(c.state(status))];
      if (stop?.(into)) break;
    }
    return into;
  };
  s.stream = await follow(talker.sendMessageStream(c.message("count", {})), {});

  // A stream whose connection is lost, and its rest.
  const cutter = { after: 0 };
  const lossy = await c.open("talker", key, cutter);
  cutter.after = 20_000;
  const lost = {};
  s.lost = await fails(() => follow(lossy.sendMessageStream(c.message("count", {})), lost));
  s.before = lost.said?.length ?? 0;
  s.back = {};
  try {
    await follow(talker.resubscribeTask({ tenant: "", id: lost.id }), s.back);
  } catch (e) {
    if (e.name !== "UnsupportedOperationError") throw e;
    // It was over by then: 1.0 wants it read.
    s.back = { ...view(await talker.getTask({ tenant: "", id: lost.id })), tasks: 1, states: ["done"] };
  }

  // Canceled while it works, heard by who subscribed.
  const sleeper = await c.open("sleeper", key);
  const slow = await sleeper.sendMessage(c.message("count", {}, c.quick));
  s.slow = view(slow);
  const heard = {};
  let begun;
  const began = new Promise((done) => { begun = done; });
  const listening = follow(sleeper.resubscribeTask({ tenant: "", id: slow.id }), heard, () => begun());
  await began;
  s.canceled = view(await sleeper.cancelTask({ tenant: "", id: slow.id, metadata: undefined }));
  await listening;
  s.heard = heard.states;
  s.twice = await fails(() => sleeper.cancelTask({ tenant: "", id: slow.id, metadata: undefined }));

  // What is another's is not there.
  const other = await c.open("demo", otherKey);
  s.stranger = await fails(() => other.getTask({ tenant: "", id: asked.id }));
  if (c === clients.v0) return s;

  // What 1.0 has beyond 0.3.
  s.resubscribed = await fails(() => follow(sleeper.resubscribeTask({ tenant: "", id: slow.id }), {}));
  const own = randomUUID();
  s.own = view(await demo.sendMessage(c.message("hello", { contextId: own })));
  s.ownContext = own;
  await demo.sendMessage(c.message("hello", { contextId: own }));
  await demo.sendMessage(c.message("remember the milk", { contextId: own }));
  const all = { tenant: "", contextId: "", status: 0, pageToken: "", statusTimestampAfter: undefined };
  s.pages = [];
  for (let pageToken = ""; s.pages.length < 10;) {
    const page = await demo.listTasks({ ...all, contextId: own, pageSize: 2, pageToken });
    s.pages.push({ total: page.totalSize, size: page.pageSize, tasks: page.tasks.map(view) });
    if (!(pageToken = page.nextPageToken)) break;
  }
  s.waiting = (await demo.listTasks({ ...all, contextId: own, status: c.states.asked, includeArtifacts: true })).tasks.map(view);
  s.listed = (await demo.listTasks(all)).tasks.map((t) => t.id);
  s.others = (await other.listTasks({ ...all, contextId: own })).tasks;
  s.badPage = await fails(() => demo.listTasks({ ...all, pageSize: 101 }));
  s.push = await fails(() => demo.deleteTaskPushNotificationConfig({ tenant: "", taskId: asked.id, id: "x" }));
  s.card = await fails(() => demo.transport.getExtendedAgentCard({ tenant: "" }, { serviceParameters: { "A2A-Version": "1.0" } }));
  s.version = await fails(() => demo.transport.getTask({ tenant: "", id: asked.id }, { serviceParameters: { "A2A-Version": "7.0" } }));
  s.tenant = await fails(() => demo.sendMessage({ ...c.message("hello", {}), tenant: "other" }));

  // A task that waits is followed to its end, through the answer.
  const wait = await demo.sendMessage(c.message("remember the milk", {}));
  const through = {};
  let answering;
  s.through = await follow(demo.resubscribeTask({ tenant: "", id: wait.id }), through, () => {
    answering ??= demo.sendMessage(c.message("approve", { taskId: wait.id, contextId: wait.contextId }));
    return false;
  });
  await answering;
  return s;
}

const all = {};
await Promise.all(Object.entries(clients).map(async ([name, c]) => { all[name] = await drive(c); }));

// The client of 1.0 that knows 0.3 as well takes 1.0, for the card has both.
const both = new v1.ClientFactory({
  transports: [new v1.JsonRpcTransportFactory({ fetchImpl: fetchWith(key), legacyCompat: { enabled: true } })],
  cardResolver: new v1.DefaultAgentCardResolver({ fetchImpl: fetchWith(key), legacyCompat: { enabled: true } }),
});
all.both = (await both.createFromUrl(...cardOf("demo"))).protocolVersion;
process.stdout.write(JSON.stringify(all));
