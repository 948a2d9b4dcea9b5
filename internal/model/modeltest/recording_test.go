package modeltest

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

const good = `What it shows.
Source: the reference
-- 1/request --
POST /v1/x
Authorization: Bearer k

{"a": 1}
-- 1/response --
HTTP/1.1 429 Too Many Requests
Retry-After: 7

slow down
-- 2/response --
HTTP/1.1 200 OK
Content-Type: text/event-stream

data: {}
-- want --
{"text": "hi", "waits": "7s"}
`

func load(text string) (*Recording, error) {
	return Load(fstest.MapFS{"r.txtar": {Data: []byte(text)}}, "r.txtar")
}

func TestLoad(t *testing.T) {
	rec, err := load(good)
	if err != nil {
		t.Fatal(err)
	}
	first, second := rec.Exchanges[0], rec.Exchanges[1]
	if len(rec.Exchanges) != 2 || first.Method != "POST" || first.Path != "/v1/x" || string(first.Body) != `{"a": 1}` ||
		first.Header.Get("Authorization") != "Bearer k" || first.Status != 429 || first.ResponseHeader.Get("Retry-After") != "7" ||
		second.Method != "" || string(second.Response) != "data: {}\n" || rec.Want.Text != "hi" || rec.Want.exchanges != 2 {
		t.Errorf("%+v", rec)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct{ old, new, want string }{
		{"Source:", "From:", "Source:"},
		{"-- 1/request --\nPOST /v1/x", "-- 1/request --\nPOST", "first line"},
		{`{"a": 1}`, `{"a": 1`, "not JSON"},
		{"HTTP/1.1 200 OK", "200 OK", "status"},
		{`"waits"`, `"wait"`, "unknown field"},
		{"-- 2/response", "-- 4/response", "out of order"},
		{"-- 1/response", "-- 1/answer", "unknown section"},
		{"-- 1/request", "-- 2/request", "out of order"},
		{"-- 1/request --\nPOST /v1/x\nAuthorization: Bearer k\n\n{\"a\": 1}\n", "", "incomplete"},
	} {
		_, err := load(strings.Replace(good, tc.old, tc.new, 1))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.new, err)
		}
	}
}

func TestAnswerChecks(t *testing.T) {
	call := func(id, name, args string) model.Chunk {
		return model.Chunk{ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(id, name, args)}}
	}
	for name, chunks := range map[string][]model.Chunk{
		"empty":         {{}},
		"no id":         {call("", "a", "{}")},
		"no name":       {call("1", "", "{}")},
		"name again":    {call("1", "a", ""), call("1", "a", "{}")},
		"finish again":  {{FinishReason: "stop"}, {FinishReason: "stop"}},
		"usage again":   {{Usage: &model.Usage{}}, {Usage: &model.Usage{}}},
		"no type":       {{ToolCalls: []holdfast.ToolCall{{ID: "1", Function: holdfast.FunctionCall{Name: "a"}}}}},
		"only a model":  {{Model: "m"}},
		"only a marker": {{Refusal: true}},
	} {
		var a Answer
		var err error
		for _, c := range chunks {
			err = errors.Join(err, a.Add(c))
		}
		if err == nil {
			t.Errorf("%s: passes", name)
		}
	}
	var a Answer
	for _, c := range []model.Chunk{{Text: "a"}, call("1", "x", ""), call("2", "y", "{"), call("1", "", "{}"), call("2", "", "}"), {FinishReason: "stop"}} {
		if err := a.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	if a.ToolCalls[0].Function.Arguments != "{}" || a.ToolCalls[1].Function.Arguments != "{}" {
		t.Errorf("%+v", a)
	}
}
