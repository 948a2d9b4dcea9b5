package httpapi_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/httpapi"
)

func TestAGUIRoutes(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.MaxBody = contractMaxBody })
	const at = "/v1/agui/demo"
	say := func(thread, text string) string {
		return `{"threadId":"` + thread + `","runId":"r","messages":[{"id":"m","role":"user","content":"` + text + `"}]}`
	}
	w.mustCall("POST", "/v1/sessions", `{"id":"gone"}`, nil)
	w.mustCall("DELETE", "/v1/sessions/gone", "", nil)
	done := w.rows(
		row{"POST", at, say("gone", "hello"), 410, "gone"},
		row{"POST", at, say("a", "hello"), 200, `"outcome":{"type":"success"}`},
		row{"POST", at, say("a", "hello"), 200, `"outcome":{"type":"success"}`},
		row{"POST", at, `{"threadId":"a","runId":"r2"}`, 200, `"type":"MESSAGES_SNAPSHOT"`},
		row{"POST", at, `{"threadId":"a","runId":"r2","resume":[{"interruptId":"approval:x","status":"resolved","payload":{"approved":true}}]}`, 200, `"type":"RUN_ERROR"`},
		row{"POST", at, `{"threadId":"a","runId":"r2","resume":[{"interruptId":"approval:x","status":"perhaps"}]}`, 200, `want resolved or cancelled`},
		row{"POST", at, `{"threadId":"a","runId":"r2","resume":[{"interruptId":"approval:x","status":"resolved"}]}`, 200, `want an object with approved`},
		row{"POST", at, say("no thread", "hello"), 400, "invalid"},
		row{"POST", at, `{"threadId":"a","messages":[]}`, 400, "invalid"},
		row{"POST", at, `{"threadId":"a","runId":"r","messages":[{"role":"user","content":[{"type":"text"}]}]}`, 400, "invalid"},
		row{"POST", at, `{"threadId":"a","runId":"r","messages":[{"role":"user","content":[{"type":"audio"}]}]}`, 501, "not_offered"},
		row{"POST", at, `{"threadId":"a","runId":"r","messages":[{"role":"system","content":"x"}]}`, 501, "not_offered"},
		row{"POST", at, `{"threadId":"a","runId":"r","context":[{"description":"d","value":"v"}]}`, 501, "not_offered"},
		row{"POST", at, `{"threadId":"a","runId":"r","parentRunId":"x"}`, 501, "not_offered"},
		row{"POST", "/v1/agui/nobody", say("a", "hello"), 404, "not_found"},
		row{"POST", at, `{"threadId":"nobody","runId":"r"}`, 404, "not_found"},
		row{"POST", at, bigBody, 413, "too_large"},
	)
	w.complete("/v1/agui", done)

	// A model call that broke off: what counts is told again, and the rest goes on.
	_, stream := w.call("POST", at, say("v", "voided"), "Content-Type", "application/json")
	void := strings.Index(stream, "MESSAGES_SNAPSHOT")
	if void < 0 || !strings.Contains(stream[void:], "TEXT_MESSAGE_START") || !strings.Contains(stream, `"type":"RUN_FINISHED"`) {
		t.Errorf("a model call that broke off: %s", stream)
	}
	// The image of a user is the same in the thread.
	image := `{"threadId":"i","runId":"r","messages":[{"id":"mine","role":"user","content":[{"type":"text","text":"hello"},{"type":"image","source":{"type":"data","value":"AAAA","mimeType":"image/png"}}]}]}`
	if _, stream = w.call("POST", at, image, "Content-Type", "application/json"); !strings.Contains(stream, `"outcome":{"type":"success"}`) {
		t.Errorf("an image: %s", stream)
	}
	if _, stream = w.call("POST", at, `{"threadId":"i","runId":"r2"}`, "Content-Type", "application/json"); !strings.Contains(stream, `{"type":"image","source":{"type":"data","value":"AAAA","mimeType":"image/png"}}`) {
		t.Errorf("an image in the thread: %s", stream)
	}
}
