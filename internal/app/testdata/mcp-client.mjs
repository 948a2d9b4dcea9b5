// Calls an agent as a tool with the official SDK of MCP.
//   node mcp-client.mjs MODULES URL KEY MESSAGE
// prints {"tools": [...], "result": {...}}.
import { pathToFileURL } from "node:url";

const [modules, url, key, message] = process.argv.slice(2);
const sdk = (name) => import(pathToFileURL(`${modules}/node_modules/@modelcontextprotocol/sdk/dist/esm/client/${name}.js`));
const { Client } = await sdk("index");
const { StreamableHTTPClientTransport } = await sdk("streamableHttp");

const client = new Client({ name: "test", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${key}` } } }));
const { tools } = await client.listTools();
const result = await client.callTool({ name: tools[0].name, arguments: { message } });
console.log(JSON.stringify({ tools, result }));
await client.close();
