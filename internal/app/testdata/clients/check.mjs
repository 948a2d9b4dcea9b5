// What the scripts of this folder share. Each is started as
//   node SCRIPT URL KEY
// beside a node_modules with the packages of package.json, prints what went wrong
// and ends with status 1 if something did.
import assert from "node:assert/strict";

export { assert };
export const [url, key] = process.argv.slice(2);

let failed = 0;

// scene runs one part of a script and goes on with the next if it fails.
export async function scene(name, run) {
  const began = Date.now();
  try {
    await run();
    if (process.env.TIMES) console.error(name, Date.now() - began);
  } catch (e) {
    failed++;
    console.log(`--- ${name}\n${e.stack ?? e}`);
  }
}

// finish ends the script; what still listens does not hold it up.
export const finish = () => process.exit(failed ? 1 : 0);

// v1 makes a request of Holdfast's own API.
export async function v1(method, path, body) {
  const resp = await fetch(url + "/v1" + path, {
    method, headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  });
  return resp.json();
}

// until waits for something to become true.
export async function until(what, is) {
  for (let i = 0; i < 18000; i++) {
    if (await is()) return;
    await new Promise((go) => setTimeout(go, 10));
  }
  throw new Error(`not within minutes: ${what}`);
}

// cutting is a fetch whose event streams break off with every so many bytes.
export function cutting(bytes) {
  const cut = async (u, init) => {
    const resp = await fetch(u, init);
    if (!resp.ok || !resp.headers.get("content-type")?.includes("event-stream")) return resp;
    cut.opened++;
    const reader = resp.body.getReader();
    let left = bytes;
    return new Response(new ReadableStream({
      async pull(c) {
        const { done, value } = await reader.read();
        if (done) return c.close();
        c.enqueue(value);
        if ((left -= value.length) > 0) return;
        cut.cuts++;
        await reader.cancel();
        c.error(new Error("the connection was lost"));
      },
    }), { status: resp.status, headers: resp.headers });
  };
  cut.opened = cut.cuts = 0;
  return cut;
}
