// Drives agents with OpenAI's SDK for JavaScript: every parameter and helper of
// responses, chat completions, conversations and models is either served or
// refused by its name.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { assert, finish, key, scene, until, url, v1 } from "./check.mjs";

const options = { baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 };
const client = new OpenAI(options);
const { responses, conversations, models, chat } = client;
const all = async (list) => {
  const out = [];
  for await (const one of await list) out.push(one);
  return out;
};

// refused wants an error of the SDK's class for a status, that names a parameter.
async function refused(promise, status, code, param) {
  const kind = { 400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 404: OpenAI.NotFoundError, 409: OpenAI.ConflictError, 422: OpenAI.UnprocessableEntityError, 405: OpenAI.APIError, 502: OpenAI.InternalServerError }[status];
  await assert.rejects(promise, (e) => {
    assert.ok(e instanceof kind, `${e}`);
    assert.deepEqual([e.status, e.code, e.param ?? undefined], [status, code, param], e.message);
    if (code === "not_offered") assert.ok(e.message.includes(param), e.message);
    return true;
  });
}
const notOffered = (promise, param) => refused(promise, 400, "not_offered", param);

const text = "Let me write that down.Your plan is in this session's todo list. It lives in the log: kill this process, start it again on the same folder, and it is still there.";
const plan = await responses.create({ model: "demo", input: "plan a trip", metadata: { trip: "1" } });

// The scenes that do not count sessions go on at the same time.
const together = [];
together.push(scene("a response", async () => {
  assert.equal(plan.status, "completed");
  assert.equal(plan.output_text, text);
  assert.deepEqual(plan.output.map((o) => o.type), ["reasoning", "message", "mcp_call", "message"]);
  assert.deepEqual(plan.metadata, { trip: "1" });
  assert.equal(plan.usage.total_tokens, plan.usage.input_tokens + plan.usage.output_tokens);
  assert.ok(plan.usage.output_tokens_details.reasoning_tokens > 0 && plan.usage.input_tokens_details.cached_tokens === 0);
  const { background, ...rest } = await responses.retrieve(plan.id);
  assert.deepEqual({ ...rest, background: false }, { ...plan });
}));

const params = {
  access_programs: {}, context_management: [{ type: "compaction", compact_threshold: 1000 }], image: {}, include: ["reasoning.encrypted_content"], instructions: "be brief",
  max_output_tokens: 100, max_tool_calls: 3, moderation: {}, parallel_tool_calls: false, prompt: { id: "p" }, prompt_cache_key: "k", prompt_cache_options: {},
  prompt_cache_retention: "24h", reasoning: { effort: "low" }, safety_identifier: "u", service_tier: "flex", store: false, stream_options: { include_obfuscation: true }, temperature: 0.5,
  text: { verbosity: "low" }, tool_choice: "required", tools: [{ type: "function", name: "f", parameters: { type: "object" }, strict: true }], top_logprobs: 2, top_p: 0.5,
  truncation: "auto", user: "u", no_such: 1,
};
together.push(scene("parameters of a response", async () => {
  for (const [name, value] of Object.entries(params)) await notOffered(responses.create({ model: "demo", input: "hello", [name]: value }), name);
  const neutral = {
    store: true, parallel_tool_calls: true, tool_choice: "auto", tools: [], include: [], service_tier: "auto", stream_options: { include_obfuscation: false }, text: { format: { type: "text" } },
    temperature: null, instructions: null, background: false, truncation: null,
  };
  assert.equal((await responses.create({ model: "once", input: "hello", ...neutral })).status, "incomplete");
  await notOffered(responses.parse({ model: "demo", input: "hello", text: { format: zodTextFormat(z.object({ a: z.string() }), "x") } }), "text");
  assert.equal((await responses.parse({ model: "demo", previous_response_id: plan.id, input: "hello" })).output_parsed ?? null, null);
}));

together.push(scene("input of a response", async () => {
  const ask = (input) => responses.create({ model: "demo", input });
  const say = (content, more = {}) => ask([{ role: "user", content, ...more }]);
  const image = { type: "input_image", image_url: "data:image/png;base64,AAAA", detail: "low" };
  assert.match((await say([{ type: "input_text", text: "hello" }, image])).output_text, /hello/);
  assert.match((await say("hello", { type: "message", id: "msg_1", status: "completed" })).output_text, /hello/);
  await notOffered(say([{ type: "input_file", filename: "a.pdf", file_data: "x" }]), "input[0].content[0]");
  await notOffered(say([{ type: "input_image", file_id: "f" }]), "input[0].content[0].file_id");
  await notOffered(say([{ type: "input_text", text: "x", prompt_cache_breakpoint: { mode: "explicit" } }]), "input[0].content[0].prompt_cache_breakpoint");
  await notOffered(say("x", { phase: "commentary" }), "input[0].phase");
  for (const role of ["system", "developer", "assistant"]) await notOffered(ask([{ role, content: "x" }]), "input[0].role");
  for (const item of [{ type: "function_call_output", call_id: "c", output: "x" }, { type: "item_reference", id: "x" }, { type: "reasoning", id: "x", summary: [] }]) await notOffered(ask([item]), "input[0]");
  for (const input of [[], "", 5, undefined]) await refused(ask(input), 400, "invalid", "input");
}));

together.push(scene("a stream, and every place at which it can be resumed", async () => {
  const stream = responses.stream({ model: "demo", input: "plan a trip" });
  const events = await all(stream);
  const final = await stream.finalResponse();
  assert.equal(final.output_text, text);
  assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
  assert.deepEqual(events.slice(0, 3).map((e) => e.type), ["response.created", "response.queued", "response.in_progress"].slice(0, 3));
  assert.equal(events.at(-1).type, "response.completed");
  // An item is added, then its parts, then what is in them; all are closed in the
  // opposite order, and nothing comes behind the end of an item.
  const open = new Map();
  for (const e of events.filter((e) => e.output_index !== undefined)) {
    const at = open.get(e.output_index);
    if (e.type === "response.output_item.added") open.set(e.output_index, { parts: 0, done: false });
    else assert.ok(at && !at.done, `${e.type} for an item that is not open`);
    if (e.type === "response.content_part.added") at.parts++;
    if (/_text\.(delta|done)$/.test(e.type)) assert.equal(at.parts, 1, e.type);
    if (e.type === "response.content_part.done") at.parts--;
    if (e.type === "response.output_item.done") assert.equal((at.done = true, at.parts), 0);
  }
  assert.ok([...open.values()].every((i) => i.done));
  const raw = async (after) => all(await responses.retrieve(final.id, { stream: true, ...(after < 0 ? {} : { starting_after: after }) }));
  const whole = JSON.stringify(await raw(-1));
  for (let i = 0; i < events.length; i++) assert.equal(JSON.stringify(JSON.parse(whole).slice(i + 1)), JSON.stringify(await raw(i)));
  const again = responses.stream({ response_id: final.id, starting_after: 5 });
  assert.deepEqual((await all(again)).map((e) => e.sequence_number), events.slice(6).map((e) => e.sequence_number));
  assert.equal((await again.finalResponse()).output_text, text);
}));

together.push(scene("a background stream that is cut behind every event", async () => {
  const got = [];
  let stream = await responses.create({ model: "demo", input: "plan a trip", background: true, stream: true });
  for (let id; got.at(-1)?.type !== "response.completed";) {
    for await (const e of stream) {
      got.push(e);
      id ??= e.response.id;
      break; // which ends the connection
    }
    stream = await responses.retrieve(id, { stream: true, starting_after: got.at(-1).sequence_number });
  }
  assert.deepEqual(got.map((e) => e.sequence_number), got.map((_, i) => i));
  const plain = (e) => JSON.stringify({ ...e, response: e.response && { ...e.response, background: null } });
  assert.deepEqual(got.map(plain), (await all(await responses.retrieve(got[0].response.id, { stream: true }))).map(plain));
}));

together.push(scene("background, cancel, failure, delete", async () => {
  const count = await responses.create({ model: "slow", input: "count", background: true });
  assert.match(count.status, /queued|in_progress/);
  await responses.cancel(count.id); // which waits a moment for the end
  await until("the run is canceled", async () => (await responses.retrieve(count.id)).status === "cancelled");
  const failed = await responses.create({ model: "talker", input: "fail" });
  assert.deepEqual([failed.status, failed.error.code], ["failed", "server_error"]);
  await responses.delete(failed.id);
  await refused(responses.retrieve(failed.id), 404, "not_found");
  await refused(responses.retrieve("resp_none"), 404, "not_found");
  await notOffered(responses.retrieve(plan.id, { include: ["message.output_text.logprobs"] }), "include[]");
  await notOffered(responses.retrieve(plan.id, { include_obfuscation: true }), "include_obfuscation");
  await refused(responses.compact({ model: "demo" }), 405, "invalid");
  await refused(responses.inputTokens.count({ model: "demo", input: "x" }), 405, "invalid");
}));

together.push(scene("approvals and input items", async () => {
  const asked = await responses.create({ model: "demo", input: "remember the milk" });
  const request = asked.output.at(-1);
  assert.deepEqual([asked.status, request.type, request.name], ["completed", "mcp_approval_request", "add_memory"]);
  const yes = { type: "mcp_approval_response", approval_request_id: request.id, approve: true };
  const done = await responses.create({ model: "demo", previous_response_id: asked.id, input: [yes] });
  assert.match(done.output_text, /^The tool said/);
  assert.deepEqual((await all(responses.inputItems.list(done.id))).map((i) => [i.type, i.approve]), [["mcp_approval_response", true]]);
  assert.deepEqual((await all(responses.inputItems.list(asked.id, { limit: 1, order: "asc" }))).map((i) => i.content[0].text), ["remember the milk"]);
  await notOffered(responses.inputItems.list(asked.id, { include: ["message.input_image.image_url"] }), "include[]");
  await refused(responses.inputItems.list(asked.id, { limit: 1000 }), 400, "invalid", "limit");
}));

together.push(scene("conversations", async () => {
  const made = await conversations.create({ metadata: { a: "b" } });
  assert.deepEqual([made.object, made.metadata], ["conversation", { a: "b" }]);
  assert.deepEqual((await conversations.create()).metadata, {});
  await responses.create({ model: "demo", conversation: made.id, input: "hello" });
  const last = await responses.create({ model: "demo", conversation: { id: made.id }, input: "remember the milk" });
  assert.equal(last.conversation.id, made.id);
  const items = await all(conversations.items.list(made.id, { order: "asc", limit: 2 }));
  assert.deepEqual(items.map((i) => i.type + (i.role ? ` ${i.role}` : "")), ["message user", "message assistant", "mcp_call", "message assistant", "message user", "message assistant", "mcp_approval_request"]);
  assert.deepEqual((await all(conversations.items.list(made.id))).map((i) => i.id), items.map((i) => i.id).reverse());
  assert.deepEqual(await conversations.items.retrieve(items[2].id, { conversation_id: made.id }), items[2]);
  assert.deepEqual(await conversations.retrieve(made.id), made);
  await refused(conversations.items.retrieve("none", { conversation_id: made.id }), 404, "not_found");
  await refused(conversations.update(made.id, { metadata: {} }), 405, "invalid");
  await refused(conversations.items.create(made.id, { items: [{ role: "user", content: "x" }] }), 405, "invalid");
  await refused(conversations.items.delete(items[0].id, { conversation_id: made.id }), 405, "invalid");
  await notOffered(conversations.create({ items: [{ role: "user", content: "x" }] }), "items");
  await refused(responses.create({ model: "demo", conversation: "none", input: "x" }), 404, "not_found", "conversation");
  await refused(responses.create({ model: "demo", conversation: made.id, previous_response_id: plan.id, input: "x" }), 400, "invalid", "conversation");
  await refused(responses.create({ model: "demo", previous_response_id: plan.id, metadata: { a: "c" }, input: "x" }), 400, "invalid", "metadata");
  assert.equal((await conversations.delete(made.id)).object, "conversation.deleted");
  await refused(conversations.retrieve(made.id), 404, "not_found");
}));

together.push(scene("models, and what is not here", async () => {
  assert.deepEqual((await all(models.list())).map((m) => m.id), ["demo", "once", "slow", "talker"]);
  assert.equal((await models.retrieve("demo")).object, "model");
  await refused(models.retrieve("none"), 404, "not_found", "model");
  await refused(models.delete("demo"), 405, "invalid");
  await refused(client.files.list(), 404, "not_found");
  await refused(client.realtime.clientSecrets.create({}), 404, "not_found");
  await refused(new OpenAI({ ...options, apiKey: "no-key-of-anybody" }).models.list(), 401, "unauthorized");
}));

const messages = [{ role: "user", content: "plan a trip" }];
together.push(scene("chat completions", async () => {
  const said = text.replace(".Your", ".\n\nYour");
  const whole = await chat.completions.create({ model: "demo", messages });
  assert.deepEqual([whole.choices[0].message.content, whole.choices[0].finish_reason], [said, "stop"]);
  const stream = chat.completions.stream({ model: "demo", messages, stream_options: { include_usage: true } });
  const seen = new Set();
  for (const name of ["content.delta", "content.done", "chunk", "finalContent", "finalChatCompletion", "totalUsage", "end"]) stream.on(name, () => seen.add(name));
  const final = await stream.finalChatCompletion();
  assert.deepEqual([final.choices[0].message.content, final.choices[0].finish_reason, final.usage.total_tokens], [said, "stop", whole.usage.total_tokens]);
  assert.equal(seen.size, 7);
  const chunks = await all(chat.completions.create({ model: "demo", messages, stream: true }));
  assert.ok(chunks.every((c) => !c.usage && c.choices.length === 1) && chunks[0].choices[0].delta.role === "assistant");
  assert.equal((await chat.completions.parse({ model: "demo", messages })).choices[0].message.parsed, null);
  await refused(chat.completions.create({ model: "talker", messages: [{ role: "user", content: "fail" }] }), 502, "model_auth");
  await assert.rejects(async () => all(await chat.completions.create({ model: "talker", stream: true, messages: [{ role: "user", content: "fail" }] })), (e) => e.code === "model_auth");
  await refused(chat.completions.create({ model: "demo", messages: [{ role: "user", content: "remember the milk" }] }), 409, "conflict");
}));

together.push(scene("parameters of a chat completion", async () => {
  const chatParams = {
    audio: { voice: "a", format: "mp3" }, frequency_penalty: 0.1, function_call: "auto", functions: [{ name: "f" }], logit_bias: { 1: 2 }, logprobs: true, max_completion_tokens: 10, max_tokens: 10,
    metadata: { a: "b" }, modalities: ["text", "audio"], moderation: {}, n: 2, parallel_tool_calls: false, prediction: { type: "content", content: "x" }, presence_penalty: 1, prompt_cache_key: "x",
    prompt_cache_options: {}, prompt_cache_retention: "24h", reasoning_effort: "low", response_format: { type: "json_object" }, safety_identifier: "x", seed: 1, service_tier: "flex", stop: ["a"],
    store: true, temperature: 0.2, tool_choice: "none", tools: [{ type: "function", function: { name: "f" } }], top_logprobs: 1, top_p: 0.1, user: "u", verbosity: "low", web_search_options: {}, no_such: 1,
  };
  for (const [name, value] of Object.entries(chatParams)) await notOffered(chat.completions.create({ model: "demo", messages, [name]: value }), name);
  await notOffered(chat.completions.create({ model: "demo", messages, stream: true, stream_options: { include_obfuscation: true } }), "stream_options.include_obfuscation");
  const neutral = { n: 1, store: false, logprobs: false, modalities: ["text"], response_format: { type: "text" }, tools: [], tool_choice: "auto", seed: null, service_tier: "default" };
  const content = [{ type: "text", text: "hello" }, { type: "image_url", image_url: { url: "data:image/png;base64,AAAA", detail: "low" } }];
  assert.match((await chat.completions.create({ model: "demo", messages: [{ role: "user", content }], ...neutral })).choices[0].message.content, /hello/);
  const say = (...list) => chat.completions.create({ model: "demo", messages: list });
  for (const role of ["system", "developer", "tool", "function"]) await notOffered(say({ role, content: "x", tool_call_id: "c", name: "f" }, messages[0]), "messages[0].role");
  await notOffered(say({ role: "user", name: "bob", content: "x" }), "messages[0].name");
  for (const part of [{ type: "input_audio", input_audio: { data: "x", format: "wav" } }, { type: "file", file: { file_data: "x" } }]) await notOffered(say({ role: "user", content: [part] }), "messages[0].content[0]");
  await refused(say(messages[0], { role: "assistant", content: "x" }, messages[0]), 400, "invalid", "messages");
  const f = { type: "function", function: { name: "f", function: () => 1, parse: JSON.parse, parameters: { type: "object", properties: {} } } };
  await notOffered(chat.completions.runTools({ model: "demo", messages, tools: [f] }).finalContent(), "tools");
  await notOffered(chat.completions.parse({ model: "demo", messages, response_format: zodResponseFormat(z.object({ a: z.string() }), "x") }), "response_format");
  await refused(chat.completions.list(), 405, "invalid");
  await refused(chat.completions.retrieve("x"), 404, "not_found");
}));

await Promise.all(together);

// impatient is the SDK that loses the answer to its first tries when is becomes
// true: its connection breaks, and it tries again by itself.
const sessions = async (agent) => (await v1("GET", "/sessions?limit=1000")).sessions.filter((s) => s.agent === `${agent}.yaml`);
function impatient(tries, is) {
  let lost = 0;
  let patient;
  const last = new Promise((go) => (patient = go));
  const client = new OpenAI({
    ...options, maxRetries: 2,
    fetch: async (u, init) => {
      if (lost >= tries) {
        patient();
        return fetch(u, init);
      }
      lost++;
      const stop = new AbortController();
      const answer = fetch(u, { ...init, signal: stop.signal });
      await is();
      stop.abort();
      await answer.catch(() => {});
      throw new TypeError("the connection was lost");
    },
  });
  return { client, last };
}

await scene("a try that is lost, and its retry, are one run", async () => {
  for (const tries of [1, 2]) {
    let before = await sessions("slow");
    const more = () => until("the run has begun", async () => (await sessions("slow")).length > before.length);
    // The run takes minutes: when all tries are lost it is canceled, which is an answer.
    const canceled = async (call) => {
      call.catch(() => {}); // it is looked at below
      await impatience.last;
      const one = (await sessions("slow")).find((s) => !before.some((b) => b.id === s.id));
      await v1("POST", `/sessions/${one.id}/cancel`);
      return call;
    };
    let impatience = impatient(tries, more);
    assert.equal((await canceled(impatience.client.responses.create({ model: "slow", input: "count" }))).status, "cancelled");
    assert.equal((await sessions("slow")).length, before.length + 1, "runs of one request");
    before = await sessions("slow");
    impatience = impatient(tries, more);
    await assert.rejects(canceled(impatience.client.chat.completions.create({ model: "slow", messages: [{ role: "user", content: "count" }] })), (e) => e.code === "canceled");
    assert.equal((await sessions("slow")).length, before.length + 1, "runs of one chat request");
  }
  const again = (k) => responses.create({ model: "demo", input: "hello" }, { headers: { "Idempotency-Key": k } });
  const [a, b, c] = [await again("k-1"), await again("k-1"), await again("k-2")];
  assert.ok(a.id === b.id && a.id !== c.id);
  await refused(responses.create({ model: "demo", input: "other" }, { headers: { "Idempotency-Key": "k-1" } }), 422, "key_reused");
  await assert.rejects(responses.create({ model: "talker", input: "count" }, { timeout: 50 }), OpenAI.APIConnectionTimeoutError);
});

finish();
