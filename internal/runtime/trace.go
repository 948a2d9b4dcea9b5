package runtime

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Names of OpenTelemetry's semantic conventions for generative AI, version 1.38
// (https://opentelemetry.io/docs/specs/semconv/gen-ai/). They have left the core
// conventions and still change: pinned here, so that an upgrade of a library changes
// nobody's dashboards.
const (
	attrOperation     = attribute.Key("gen_ai.operation.name")
	attrProvider      = attribute.Key("gen_ai.provider.name")
	attrRequestModel  = attribute.Key("gen_ai.request.model")
	attrTemperature   = attribute.Key("gen_ai.request.temperature")
	attrTopP          = attribute.Key("gen_ai.request.top_p")
	attrMaxTokens     = attribute.Key("gen_ai.request.max_tokens")
	attrResponseModel = attribute.Key("gen_ai.response.model")
	attrFinishReasons = attribute.Key("gen_ai.response.finish_reasons")
	attrInputTokens   = attribute.Key("gen_ai.usage.input_tokens")
	attrOutputTokens  = attribute.Key("gen_ai.usage.output_tokens")
	attrCacheRead     = attribute.Key("gen_ai.usage.cache_read.input_tokens")
	attrCacheWrite    = attribute.Key("gen_ai.usage.cache_creation.input_tokens")
	attrConversation  = attribute.Key("gen_ai.conversation.id")
	attrAgent         = attribute.Key("gen_ai.agent.name")
	attrTool          = attribute.Key("gen_ai.tool.name")
	attrToolCall      = attribute.Key("gen_ai.tool.call.id")
	attrToolType      = attribute.Key("gen_ai.tool.type")
	attrErrorType     = attribute.Key("error.type")

	// Ours, where the conventions have no word.
	attrRun     = attribute.Key("holdfast.run.id")
	attrTenant  = attribute.Key("holdfast.tenant")
	attrPurpose = attribute.Key("holdfast.model_call.purpose")
)

// providerNames are the conventions' names of providers where ours differ.
var providerNames = map[string]string{
	"google": "gcp.gemini", "amazon-bedrock": "aws.bedrock", "azure": "azure.ai.openai", "mistral": "mistral_ai", "xai": "x_ai",
}

// traced is what spans below an owner's work on a run have in common.
type traced struct {
	run   string
	attrs []attribute.KeyValue
	ctx   context.Context // with the span
	span  trace.Span
}

type tracedKey struct{}

// inRun returns ctx with the span of this owner's work on the active run, which it
// begins when the run is another than before. A run that parks or changes hands has
// several such spans; they share the attributes of the conversation and the run.
// Only the loop's goroutine calls it.
func (d *drive) inRun(ctx context.Context) context.Context {
	var run, name string
	d.locked(func() {
		if d.s.Run != nil {
			run = d.s.Run.ID
			name = d.s.Run.AgentInFile
			if len(d.s.Run.Threads) > 0 {
				name = d.s.Run.Threads[0].Agent
			}
		}
	})
	if d.traced != nil && d.traced.run != run {
		d.endTrace()
	}
	if run == "" {
		return ctx
	}
	if d.traced == nil {
		if d.e.cfg.TraceParent != nil {
			if parent := d.e.cfg.TraceParent(d.s.Ref); parent.IsValid() {
				ctx = trace.ContextWithSpanContext(ctx, parent)
			}
		}
		t := &traced{run: run, attrs: []attribute.KeyValue{
			attrConversation.String(d.s.Ref.Session), attrAgent.String(name), attrRun.String(run), attrTenant.String(d.s.Ref.Tenant),
		}}
		ctx, t.span = d.e.tracer.Start(ctx, "invoke_agent "+name, trace.WithAttributes(t.attrs...),
			trace.WithAttributes(attrOperation.String("invoke_agent")))
		t.ctx = context.WithValue(ctx, tracedKey{}, t)
		d.traced = t
	}
	return d.traced.ctx
}

// endTrace ends the span of inRun.
func (d *drive) endTrace() {
	if d.traced != nil {
		d.traced.span.End()
		d.traced = nil
	}
}

// common are the attributes of the run that ctx belongs to.
func common(ctx context.Context) []attribute.KeyValue {
	if t, ok := ctx.Value(tracedKey{}).(*traced); ok {
		return t.attrs
	}
	return nil
}

// failed marks a span with the code of an error; its text may quote what users
// said.
func failed(span trace.Span, err error) {
	if err == nil {
		return
	}
	kind := string(holdfast.CodeOf(err))
	switch {
	case errors.Is(err, context.Canceled):
		kind = string(holdfast.CodeCanceled)
	case kind == "":
		kind = "_OTHER"
	}
	span.SetAttributes(attrErrorType.String(kind))
	span.SetStatus(codes.Error, kind)
}

// traceModel makes a model call under a span: which model, how it ended, how many
// tokens. Nothing that anybody said is in it.
func (e *Engine) traceModel(ctx context.Context, m *agent.ModelSettings, req model.Request, fn func(model.Chunk) error,
	stream func(context.Context, model.Request, func(model.Chunk) error) error,
) error {
	ctx, span := e.tracer.Start(ctx, "chat "+m.Model, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	if !span.IsRecording() {
		return stream(ctx, req, fn)
	}
	kind := m.Provider
	if n, ok := providerNames[kind]; ok {
		kind = n
	}
	attrs := append([]attribute.KeyValue{attrOperation.String("chat"), attrProvider.String(kind), attrRequestModel.String(m.Model)}, common(ctx)...)
	if m.Temperature != nil {
		attrs = append(attrs, attrTemperature.Float64(*m.Temperature))
	}
	if m.TopP != nil {
		attrs = append(attrs, attrTopP.Float64(*m.TopP))
	}
	if m.MaxTokens != nil {
		attrs = append(attrs, attrMaxTokens.Int64(*m.MaxTokens))
	}
	if req.Purpose != model.PurposeTurn {
		attrs = append(attrs, attrPurpose.String(string(req.Purpose)))
	}
	span.SetAttributes(attrs...)
	err := stream(ctx, req, func(c model.Chunk) error {
		if c.Model != "" {
			span.SetAttributes(attrResponseModel.String(c.Model))
		}
		if c.FinishReason != "" {
			span.SetAttributes(attrFinishReasons.StringSlice([]string{c.FinishReason}))
		}
		if u := c.Usage; u != nil {
			span.SetAttributes(attrInputTokens.Int64(u.InputTokens), attrOutputTokens.Int64(u.OutputTokens),
				attrCacheRead.Int64(u.CachedInputTokens), attrCacheWrite.Int64(u.CacheWriteTokens))
		}
		return fn(c)
	})
	failed(span, err)
	return err
}

// traceTool makes a tool call under a span.
func (e *Engine) traceTool(ctx context.Context, c *tool.Call, call func(context.Context) (tool.Result, error)) (tool.Result, error) {
	ctx, span := e.tracer.Start(ctx, "execute_tool "+c.Name)
	defer span.End()
	if span.IsRecording() {
		span.SetAttributes(append([]attribute.KeyValue{
			attrOperation.String("execute_tool"), attrTool.String(c.Name), attrToolCall.String(c.ID), attrToolType.String("function"),
		}, common(ctx)...)...)
	}
	res, err := call(ctx)
	var asks *tool.InputRequired
	switch {
	case errors.As(err, &asks): // it goes on when they are answered
	case err != nil:
		failed(span, err)
	case res.IsError:
		span.SetAttributes(attrErrorType.String("tool_error"))
		span.SetStatus(codes.Error, "tool_error")
	}
	return res, err
}
