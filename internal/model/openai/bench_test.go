package openai

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func chatBenchmark() *modeltest.Bench {
	event := func(delta, reason string) string {
		return `data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_fc9f1d7035","choices":[{"index":0,"delta":` +
			delta + `,"logprobs":null,"finish_reason":` + reason + `}],"usage":null,"obfuscation":"Y0Ks8CnJfAO"}` + "\n\n"
	}
	args := func(piece string) string {
		return event(`{"tool_calls":[{"index":0,"function":{"arguments":`+piece+`}}]}`, "null")
	}
	return &modeltest.Bench{
		Text: []byte(modeltest.Pieces(event(`{"content":" word%d"}`, "null")) + event("{}", `"stop"`) + "data: [DONE]\n\n"),
		Call: []byte(event(`{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get_weather","arguments":""}}]}`, "null") +
			args(`"{\"ci"`) + args(`"ty\":\"Os"`) + args(`"lo\"}"`) + event("{}", `"tool_calls"`) + "data: [DONE]\n\n"),
		Model: func(b *testing.B, c *http.Client) model.Model { return local(b, "chat_completions", c) },
		SDKText: func(b *testing.B, c *http.Client) func() (int, error) {
			svc := sdk.NewChatCompletionService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(c))
			return func() (int, error) {
				n := 0
				s := svc.NewStreaming(b.Context(), sdk.ChatCompletionNewParams{})
				for s.Next() {
					for _, c := range s.Current().Choices {
						n += len(c.Delta.Content)
					}
				}
				return n, s.Err()
			}
		},
		SDKTurn: func(b *testing.B, c *http.Client) func() error {
			svc := sdk.NewChatCompletionService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(c))
			p := benchParams(b)
			ask := func(p sdk.ChatCompletionNewParams) (sdk.ChatCompletionMessage, error) {
				s := svc.NewStreaming(b.Context(), p)
				var acc sdk.ChatCompletionAccumulator
				for s.Next() {
					acc.AddChunk(s.Current())
				}
				if err := s.Err(); err != nil {
					return sdk.ChatCompletionMessage{}, err
				}
				return acc.Choices[0].Message, nil
			}
			return func() error {
				msg, err := ask(p)
				if err != nil {
					return err
				}
				if err := modeltest.IsBenchCall(len(msg.ToolCalls), msg.ToolCalls[0].Function.Arguments); err != nil {
					return err
				}
				next := p
				next.Messages = append(slices.Clip(p.Messages), msg.ToParam(), sdk.ToolMessage("9 degrees", msg.ToolCalls[0].ID))
				_, err = ask(next)
				return err
			}
		},
	}
}

// benchParams are the benchmarks' conversation and tools.
func benchParams(b *testing.B) sdk.ChatCompletionNewParams {
	p := sdk.ChatCompletionNewParams{Model: "m"}
	for _, m := range modeltest.BenchHistory() {
		switch m.Role {
		case holdfast.RoleSystem:
			p.Messages = append(p.Messages, sdk.SystemMessage(m.Content))
		case holdfast.RoleTool:
			p.Messages = append(p.Messages, sdk.ToolMessage(m.Content, m.ToolCallID))
		case holdfast.RoleUser:
			p.Messages = append(p.Messages, sdk.UserMessage(m.Content))
		default:
			a := sdk.AssistantMessage(m.Content)
			for _, call := range m.ToolCalls {
				a.OfAssistant.ToolCalls = append(a.OfAssistant.ToolCalls, sdk.ChatCompletionMessageToolCallUnionParam{
					OfFunction: &sdk.ChatCompletionMessageFunctionToolCallParam{ID: call.ID, Function: sdk.ChatCompletionMessageFunctionToolCallFunctionParam{
						Name: call.Function.Name, Arguments: call.Function.Arguments,
					}},
				})
			}
			p.Messages = append(p.Messages, a)
		}
	}
	for _, t := range modeltest.Tools() {
		p.Tools = append(p.Tools, sdk.ChatCompletionFunctionTool(sdk.FunctionDefinitionParam{
			Name: t.Name, Description: sdk.String(t.Description), Parameters: benchSchema(b, t),
		}))
	}
	return p
}

func benchSchema(b *testing.B, t model.Tool) map[string]any {
	if len(t.Parameters) == 0 {
		return nil
	}
	var schema map[string]any
	if err := json.Unmarshal(t.Parameters, &schema); err != nil {
		b.Fatal(err)
	}
	return schema
}

func responsesBenchmark() *modeltest.Bench {
	const created = `data: {"type":"response.created","response":{"id":"resp_1","model":"gpt-5"},"sequence_number":0}` + "\n\n"
	completed := func(output string) string {
		return `data: {"type":"response.completed","response":{"id":"resp_1","model":"gpt-5","output":[` + output + `],"usage":{"input_tokens":9,"output_tokens":1000}},"sequence_number":1001}` + "\n\n"
	}
	const call = `{"id":"fc_1","type":"function_call","status":"completed","arguments":"{\"city\":\"Oslo\"}","call_id":"call_1","name":"get_weather"}`
	args := func(piece string) string {
		return `data: {"type":"response.function_call_arguments.delta","delta":` + piece + `,"item_id":"fc_1","obfuscation":"RvoJ43TaUvnCS8e","output_index":0,"sequence_number":4}` + "\n\n"
	}
	return &modeltest.Bench{
		Text: []byte(created + modeltest.Pieces("event: response.output_text.delta\n"+`data: {"type":"response.output_text.delta","content_index":0,"delta":" word%d","item_id":"msg_0fabc13af1ee0049006a691dfebdc881a1ae18d027c313d8ce","logprobs":[],"obfuscation":"RvoJ43TaUvnCS8e","output_index":0,"sequence_number":7}`+"\n\n") +
			completed("")),
		Call: []byte(created + `data: {"type":"response.output_item.added","item":{"id":"fc_1","type":"function_call","status":"in_progress","arguments":"","call_id":"call_1","name":"get_weather"},"output_index":0,"sequence_number":2}` + "\n\n" +
			args(`"{\"ci"`) + args(`"ty\":\"Os"`) + args(`"lo\"}"`) +
			`data: {"type":"response.output_item.done","item":` + call + `,"output_index":0,"sequence_number":9}` + "\n\n" + completed(call)),
		Model: func(b *testing.B, c *http.Client) model.Model { return local(b, "responses", c) },
		SDKText: func(b *testing.B, c *http.Client) func() (int, error) {
			svc := responses.NewResponseService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(c))
			return func() (int, error) {
				n := 0
				s := svc.NewStreaming(b.Context(), responses.ResponseNewParams{})
				for s.Next() {
					n += len(s.Current().Delta)
				}
				return n, s.Err()
			}
		},
		SDKTurn: responsesTurn,
	}
}

func responsesTurn(b *testing.B, c *http.Client) func() error {
	svc := responses.NewResponseService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(c))
	p := responses.ResponseNewParams{Model: "m", Store: sdk.Bool(false)}
	said := func(text string, role responses.EasyInputMessageRole) responses.ResponseInputItemUnionParam {
		return responses.ResponseInputItemParamOfMessage(text, role)
	}
	answer := func(id, text string) responses.ResponseInputItemUnionParam {
		item := responses.ResponseInputItemParamOfFunctionCallOutput(text)
		item.OfFunctionCallOutput.CallID = sdk.String(id)
		return item
	}
	var items []responses.ResponseInputItemUnionParam
	for _, m := range modeltest.BenchHistory() {
		switch m.Role {
		case holdfast.RoleTool:
			items = append(items, answer(m.ToolCallID, m.Content))
		default:
			items = append(items, said(m.Content, responses.EasyInputMessageRole(m.Role)))
			for _, call := range m.ToolCalls {
				items = append(items, responses.ResponseInputItemParamOfFunctionCall(call.Function.Arguments, call.ID, call.Function.Name))
			}
		}
	}
	for _, t := range modeltest.Tools() {
		tool := responses.ToolParamOfFunction(t.Name, benchSchema(b, t), false)
		tool.OfFunction.Description = sdk.String(t.Description)
		p.Tools = append(p.Tools, tool)
	}
	ask := func(items []responses.ResponseInputItemUnionParam) (calls []responses.ResponseOutputItemUnion, err error) {
		p.Input.OfInputItemList = items
		s := svc.NewStreaming(b.Context(), p)
		for s.Next() {
			if e := s.Current(); e.Type == "response.output_item.done" && e.Item.Type == "function_call" {
				calls = append(calls, e.Item)
			}
		}
		return calls, s.Err()
	}
	return func() error {
		calls, err := ask(items)
		if err != nil {
			return err
		}
		if err := modeltest.IsBenchCall(len(calls), calls[0].Arguments.OfString); err != nil {
			return err
		}
		call := calls[0].AsFunctionCall()
		_, err = ask(append(slices.Clip(items), responses.ResponseInputItemParamOfFunctionCall(call.Arguments, call.CallID, call.Name), answer(call.CallID, "9 degrees")))
		return err
	}
}

func BenchmarkDeltas(b *testing.B)          { chatBenchmark().RunDeltas(b) }
func BenchmarkTurn(b *testing.B)            { chatBenchmark().RunTurn(b) }
func BenchmarkResponsesDeltas(b *testing.B) { responsesBenchmark().RunDeltas(b) }
func BenchmarkResponsesTurn(b *testing.B)   { responsesBenchmark().RunTurn(b) }

// BenchmarkRequest composes the body of a call at a history of a thousand
// messages.
func BenchmarkRequest(b *testing.B) {
	b.Run("holdfast", func(b *testing.B) {
		m := local(b, "chat_completions", http.DefaultClient)
		req := model.Request{Messages: modeltest.BenchHistory(), Tools: modeltest.Tools()}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.body(&req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		p := benchParams(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
