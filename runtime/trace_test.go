package runtime_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/runtime"
)

// TestSpans: a run is a trace with its model calls, their tokens and its tool
// calls, in the words of the conventions and without anybody's.
func TestSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	rt := start(t, runtime.WithTracer(tracer), runtime.WithTool(runtime.Tool{
		Name: "lookup", Description: "Looks something up.", Parameters: []byte(`{"type":"object","properties":{"what":{"type":"string"}}}`),
	}, lookup))
	s := holdfast.NewSession("look up trouble")
	s.ToolsApproved = true
	for e := range rt.RunStream(t.Context(), s) {
		if ev, ok := e.(*holdfast.ErrorEvent); ok {
			t.Error(ev.Error)
		}
	}
	if err := rt.Close(); err != nil { // the worker's spans are at their end then
		t.Fatal(err)
	}
	byName := map[string][]trace.ReadOnlySpan{}
	var names []string
	for _, sp := range spans.Ended() {
		byName[sp.Name()] = append(byName[sp.Name()], sp)
		names = append(names, sp.Name())
		for _, a := range sp.Attributes() {
			if v := a.Value.String(); strings.Contains(v, "trouble") || strings.Contains(v, "look up") {
				t.Errorf("%s says what was said: %s=%s", sp.Name(), a.Key, v)
			}
		}
	}
	slices.Sort(names)
	if got := fmt.Sprint(slices.Compact(names)); got != "[chat lookup execute_tool lookup holdfast.run invoke_agent root]" {
		t.Fatalf("spans: %s", got)
	}
	run, work := byName["holdfast.run"][0], byName["invoke_agent root"][0]
	if work.Parent().SpanID() != run.SpanContext().SpanID() || work.SpanContext().TraceID() != run.SpanContext().TraceID() {
		t.Error("the work is not below the run")
	}
	attr := func(sp trace.ReadOnlySpan, key string) string {
		for _, a := range sp.Attributes() {
			if a.Key == attribute.Key(key) {
				return a.Value.String()
			}
		}
		return ""
	}
	turns := 0
	for _, sp := range byName["chat lookup"] {
		if sp.Parent().SpanID() != work.SpanContext().SpanID() {
			t.Error("a model call is not below the work")
		}
		if attr(sp, "holdfast.model_call.purpose") == "" {
			turns++
		}
		if attr(sp, "gen_ai.operation.name") != "chat" || attr(sp, "gen_ai.provider.name") != "scripted" || attr(sp, "gen_ai.request.model") != "lookup" ||
			attr(sp, "gen_ai.conversation.id") != s.ID || attr(sp, "gen_ai.usage.output_tokens") == "" || attr(sp, "gen_ai.response.finish_reasons") == "" {
			t.Errorf("a model call has %v", sp.Attributes())
		}
	}
	if turns != 2 {
		t.Errorf("%d model calls of the conversation, want 2", turns)
	}
	called := byName["execute_tool lookup"][0]
	if called.Parent().SpanID() != work.SpanContext().SpanID() || attr(called, "gen_ai.tool.name") != "lookup" ||
		attr(called, "gen_ai.tool.call.id") == "" || called.Status().Code != codes.Error || attr(called, "error.type") != "tool_error" {
		t.Errorf("the tool call: %v %v", called.Status(), called.Attributes())
	}
}
