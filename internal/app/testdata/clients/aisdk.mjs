// Talks to agents with the AI SDK of Vercel, over both of OpenAI's APIs.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";
import { assert, finish, key, scene, url } from "./check.mjs";

const settings = { baseURL: `${url}/v1`, apiKey: key };
const openai = createOpenAI(settings);
const compatible = createOpenAICompatible({ name: "holdfast", includeUsage: true, ...settings });
const kinds = { responses: (id) => openai.responses(id), chat: (id) => openai.chat(id), compatible: (id) => compatible.chatModel(id) };

for (const [name, model] of Object.entries(kinds)) {
  await scene(name, async () => {
    const ask = (more) => generateText({ model: model("demo"), maxRetries: 0, prompt: "plan a trip", ...more });
    const whole = await ask();
    assert.match(whole.text, /^Let me write that down\.[^]*still there\.$/);
    assert.equal(whole.finishReason, "stop");
    assert.ok(whole.usage.totalTokens > 0);
    const stream = streamText({ model: model("demo"), prompt: "plan a trip", maxRetries: 0, onError() {} });
    const types = new Set();
    for await (const part of stream.fullStream) types.add(part.type);
    assert.equal(await stream.text, whole.text);
    assert.ok(types.has("text-delta") && types.has("finish") && !types.has("error"), [...types].join());
    if (name === "responses") assert.ok(types.has("tool-call") && types.has("tool-result") && types.has("reasoning-start"), [...types].join());
    await assert.rejects(ask({ temperature: 0.1 }), /temperature: not offered/);
    await assert.rejects(ask({ tools: { f: tool({ description: "d", inputSchema: z.object({}), execute: () => 1 }) } }), /tools: not offered/);
    const failed = streamText({ model: model("talker"), prompt: "fail", maxRetries: 0, onError() {} });
    const seen = [];
    for await (const part of failed.fullStream) seen.push(part.type);
    assert.ok(seen.includes("error"), seen.join());
  });
}

finish();
