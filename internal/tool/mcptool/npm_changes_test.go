package mcptool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
)

// growing is a server over the TypeScript SDK whose tools change while they are called,
// which the SDK tells its clients by itself. It also says what it got as arguments.
const growing = `
import { McpServer } from "SDK/server/mcp.js";
import { StdioServerTransport } from "SDK/server/stdio.js";
import { StreamableHTTPServerTransport } from "SDK/server/streamableHttp.js";
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { z } from "ZOD";

const text = (t) => ({ content: [{ type: "text", text: t }] });

function make() {
  const server = new McpServer({ name: "growing", version: "1.0.0" });
  const grown = [];
  server.registerTool("grow", { description: "Adds a tool" }, async () => {
    const name = "grown-" + (grown.length + 1);
    grown.push(server.registerTool(name, { description: "Was not there before" }, async () => text("I am " + name)));
    return text("grew " + name);
  });
  server.registerTool("shrink", { description: "Removes the last tool" }, async () => {
    grown.pop().remove();
    return text("shrank");
  });
  server.registerTool("optional", { inputSchema: { name: z.string(), note: z.string().optional(), none: z.string().nullable().optional() } },
    async (args) => text(JSON.stringify(args)));
  return server;
}

if (process.argv[2] === "stdio") {
  await make().connect(new StdioServerTransport());
} else {
  const sessions = new Map();
  createServer(async (req, res) => {
    let transport = sessions.get(req.headers["mcp-session-id"]);
    if (!transport) {
      transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => sessions.set(id, transport) });
      await make().connect(transport);
    }
    await transport.handleRequest(req, res);
  }).listen(Number(process.env.PORT), "127.0.0.1", () => console.error("port " + process.env.PORT));
}
`

// A list of tools that changes in the middle of a call is the new one from then on,
// without another start of the server.
func TestToolsChangeWhileRunning(t *testing.T) {
	modules := filepath.Join(npmServer(t, "server-everything"), "..", "..", "..", "..")
	script := filepath.Join(t.TempDir(), "growing.mjs")
	source := strings.NewReplacer(
		"SDK", filepath.Join(modules, "@modelcontextprotocol", "sdk", "dist", "esm"), "ZOD", filepath.Join(modules, "zod", "index.js"),
	).Replace(growing)
	if err := os.WriteFile(script, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]func(t *testing.T) mcptool.Config{
		"stdio": func(*testing.T) mcptool.Config {
			return mcptool.Config{Name: "growing", Prefix: "g", Command: "node", Args: []string{script, "stdio"}}
		},
		"streamable": func(t *testing.T) mcptool.Config {
			return mcptool.Config{Name: "growing", Prefix: "g", URL: "http://127.0.0.1:" + nodeServer(t, script, "http") + "/mcp"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ts := open(t, cfg(t), mcptool.Options{})
			// has waits until the list has these tools beside the first three.
			has := func(grown ...string) {
				t.Helper()
				var defs map[string]tool.Definition
				for deadline := time.Now().Add(time.Minute); ; {
					defs = definitions(t, ts)
					missing := len(defs) - 3 - len(grown)
					for _, g := range grown {
						if defs["g_"+g].Remote != g {
							missing = 1
						}
					}
					if missing == 0 {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("%d tools, want %v beside the first", len(defs), grown)
					}
					<-time.After(5 * time.Millisecond)
				}
			}
			has()
			for i := range 3 {
				wantOutput(t, ts, tool.Call{Name: "g_grow"}, fmt.Sprintf("grew grown-%d", i+1))
			}
			has("grown-1", "grown-2", "grown-3")
			wantOutput(t, ts, tool.Call{Name: "g_grown-2"}, "I am grown-2")
			wantOutput(t, ts, tool.Call{Name: "g_shrink"}, "shrank")
			has("grown-1", "grown-2")
			wantError(t, call(t, ts, tool.Call{Name: "g_grown-3"}), "There is no tool")

			// What a model does not want to say it calls null, which the server refuses
			// where it is no value.
			wantOutput(t, ts, tool.Call{Name: "g_optional", Arguments: `{"name":"x","note":null,"none":null}`}, `{"name":"x","none":null}`)
			wantError(t, call(t, ts, tool.Call{Name: "g_optional", Arguments: `{"name":null}`}), "nvalid")
		})
	}
}

// A filter knows the server's names and those with the prefix.
func TestPrefixedNamesAndFilter(t *testing.T) {
	path := npmServer(t, "server-everything")
	ts := open(t, mcptool.Config{
		Name: "everything", Prefix: "all of it", Command: "node", Args: []string{path, "stdio"}, Tools: []string{"echo", "all of it_get-sum"},
	}, mcptool.Options{})
	defs := definitions(t, ts)
	if len(defs) != 2 || defs["all_of_it_echo"].Remote != "echo" || defs["all_of_it_get-sum"].Remote != "get-sum" {
		t.Errorf("%+v", defs)
	}
	wantOutput(t, ts, tool.Call{Name: "all_of_it_echo", Arguments: `{"message":"hi"}`}, "Echo: hi")
}
