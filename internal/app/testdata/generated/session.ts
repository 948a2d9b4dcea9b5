// A whole session over a client whose types are generated from the description
// that the server serves. It prints one line when all went well.
import createClient from "openapi-fetch";
import type { paths, components } from "./schema";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });

function check(ok: boolean, what: string, saw?: unknown): asserts ok {
  if (!ok) throw new Error(`${what}: ${JSON.stringify(saw)}`);
}

type Event = components["schemas"]["Event"];
type Position = components["schemas"]["StreamPosition"];

// follow reads server-sent events until one has the type. Before them the stream
// says where the session stands.
async function follow(id: string, run: string, after: number, type: string): Promise<Event[]> {
  const { data, response } = await client.GET("/v1/sessions/{id}/events", {
    params: { path: { id }, query: { after, until: run }, header: {} },
    parseAs: "stream",
  });
  check(response.status === 200 && !!data, "the stream begins", response.status);
  const events: Event[] = [];
  let position: Position | undefined;
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of data as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const line = text.slice(0, end).split("\n").find((l) => l.startsWith("data: "));
      text = text.slice(end + 2);
      if (!line) continue;
      const said = JSON.parse(line.slice(6)) as Event | Position;
      if (!position) {
        position = said as Position;
        check(position.type === "stream_position" && position.after === after && position.head >= after, "the stream says where it begins", said);
        continue;
      }
      const event = said as Event;
      events.push(event);
      if (event.type === type) return events;
    }
  }
  throw new Error(`the stream ended before ${type}`);
}

const made = await client.POST("/v1/sessions", { body: { agent: "demo", title: "Generated", metadata: { by: "openapi-fetch" } } });
check(made.response.status === 201 && !!made.data, "a session is created", made.error);
const id = made.data.id;

const started = await client.POST("/v1/sessions/{id}/runs", {
  params: { path: { id }, header: { "Idempotency-Key": "once" } },
  body: { messages: [{ content: "remember the milk" }] },
});
check(started.response.status === 200 && !!started.data?.run, "a run is started", started.error);
const again = await client.POST("/v1/sessions/{id}/runs", {
  params: { path: { id }, header: { "Idempotency-Key": "once" } },
  body: { messages: [{ content: "remember the milk" }] },
});
check(again.data?.run === started.data.run, "the same request is the same run", again);

const first = await follow(id, started.data.run, 0, "tool_call_confirmation");
check(first.every((e, i) => e.seq === i + 1), "the events are numbered without gaps", first.map((e) => e.seq));
const document = await client.GET("/v1/sessions/{id}", { params: { path: { id } } });
const pending = document.data?.pending?.[0];
check(!!pending, "a call waits for a decision", document.data);

const decided = await client.POST("/v1/sessions/{id}/tool-calls/{call}/decision", {
  params: { path: { id, call: pending.tool_call.id } },
  body: { decision: "approve" },
});
check(decided.data?.status === "accepted", "the call is approved", decided.error);
const rest = await follow(id, started.data.run, first.length, "run_finished");
check(rest[0].seq === first.length + 1, "the stream goes on where it was", rest[0]);

const run = await client.GET("/v1/sessions/{id}/runs/{run}", { params: { path: { id, run: started.data.run } } });
check(run.data?.status === "finished" && run.data.reason === "stop", "the run has come to its end", run.data);
const whole = await client.GET("/v1/sessions/{id}", { params: { path: { id } } });
check((whole.data?.messages ?? []).some((m) => m.message.role === "tool"), "the document has the tool's answer", whole.data);

const fork = await client.POST("/v1/sessions/{id}/forks", { params: { path: { id } }, body: {} });
check(fork.response.status === 201 && fork.data?.fork_of === id, "the session is forked", fork.error);
const found = await client.GET("/v1/sessions", { params: { query: { metadata: ["by:openapi-fetch"] } } });
check(!!found.data && !found.error, "sessions are searched", found.error);

// In the fork: say something by message, stop it while it waits, and say it later.
const said = await client.POST("/v1/sessions/{id}/messages", {
  params: { path: { id: fork.data.id } },
  body: { messages: [{ content: "remember the bread" }] },
});
check(said.data?.status === "accepted" && !!said.data.run, "a message is taken", said.error);
await follow(fork.data.id, said.data.run, (said.data.seq ?? 1) - 1, "tool_call_confirmation");
const stopped = await client.POST("/v1/sessions/{id}/runs/{run}/cancel", { params: { path: { id: fork.data.id, run: said.data.run } } });
check(stopped.data?.status === "accepted", "the run is canceled", stopped.error);
const ended = await client.GET("/v1/sessions/{id}/runs/{run}", { params: { path: { id: fork.data.id, run: said.data.run } } });
check(ended.data?.status === "finished" && ended.data.reason === "canceled", "the run ends for that reason", ended.data ?? ended.error);
const later = await client.POST("/v1/sessions/{id}/messages", {
  params: { path: { id: fork.data.id } },
  body: { messages: [{ content: "good morning" }], delay: "24h" },
});
const waits = await client.GET("/v1/sessions/{id}/scheduled", { params: { path: { id: fork.data.id } } });
check(!later.error && waits.data?.runs?.length === 1, "a message waits for its time", later.error ?? waits.data);

const gone = await client.DELETE("/v1/sessions/{id}", { params: { path: { id: fork.data.id } } });
check(gone.data?.status === "accepted", "the fork is deleted", gone.error);
const missing = await client.GET("/v1/sessions/{id}", { params: { path: { id: fork.data.id } } });
check(missing.error?.code === "not_found" && missing.error.status === 404, "errors are problems with a code", missing.error);

console.log(`drove ${id} through ${first.length + rest.length} events`);
