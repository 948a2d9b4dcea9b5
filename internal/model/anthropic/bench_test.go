package anthropic

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// benchAnswer is an answer as the API sends it.
func benchAnswer(block, deltas, reason string) []byte {
	return []byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n" +
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":" + block + "}\n\n" + deltas +
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" + reason + "\"},\"usage\":{\"output_tokens\":1000}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
}

func benchmark() *modeltest.Bench {
	input := func(piece string) string {
		return "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":" + piece + "}}\n\n"
	}
	return &modeltest.Bench{
		Text: benchAnswer(`{"type":"text","text":""}`,
			modeltest.Pieces("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word%d\"}     }\n\n"), "end_turn"),
		Call: benchAnswer(`{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{}}`,
			input(`""`)+input(`"{\"ci"`)+input(`"ty\": \"Os"`)+input(`"lo\"}"`), "tool_use"),
		Model: func(b *testing.B, c *http.Client) model.Model { return local(b, c) },
		SDKText: func(b *testing.B, c *http.Client) func() (int, error) {
			svc := benchService(c)
			return func() (int, error) {
				n := 0
				s := svc.NewStreaming(b.Context(), sdk.MessageNewParams{})
				for s.Next() {
					n += len(s.Current().Delta.Text)
				}
				return n, s.Err()
			}
		},
		SDKTurn: benchTurn,
	}
}

func benchService(c *http.Client) sdk.MessageService {
	return sdk.NewMessageService(option.WithBaseURL("http://x.test/"), option.WithHTTPClient(c), option.WithoutOpenTelemetry())
}

func benchTurn(b *testing.B, c *http.Client) func() error {
	svc := benchService(c)
	p := sdk.MessageNewParams{Model: "m", MaxTokens: 32000}
	for _, m := range modeltest.BenchHistory() {
		switch m.Role {
		case holdfast.RoleSystem:
			p.System = append(p.System, sdk.TextBlockParam{Text: m.Content})
		case holdfast.RoleTool:
			p.Messages = append(p.Messages, sdk.NewUserMessage(sdk.NewToolResultBlock(m.ToolCallID, m.Content, false)))
		case holdfast.RoleUser:
			p.Messages = append(p.Messages, sdk.NewUserMessage(sdk.NewTextBlock(m.Content)))
		default:
			blocks := []sdk.ContentBlockParamUnion{sdk.NewTextBlock(m.Content)}
			for _, call := range m.ToolCalls {
				blocks = append(blocks, sdk.NewToolUseBlock(call.ID, json.RawMessage(call.Function.Arguments), call.Function.Name))
			}
			p.Messages = append(p.Messages, sdk.NewAssistantMessage(blocks...))
		}
	}
	for _, t := range modeltest.Tools() {
		tool := sdk.ToolUnionParamOfTool(sdk.ToolInputSchemaParam{}, t.Name)
		if len(t.Parameters) > 0 {
			if err := json.Unmarshal(t.Parameters, &tool.OfTool.InputSchema); err != nil {
				b.Fatal(err)
			}
		}
		tool.OfTool.Description = sdk.String(t.Description)
		p.Tools = append(p.Tools, tool)
	}
	ask := func(p sdk.MessageNewParams) (msg sdk.Message, err error) {
		s := svc.NewStreaming(b.Context(), p)
		for s.Next() {
			if err := msg.Accumulate(s.Current()); err != nil {
				return msg, err
			}
		}
		return msg, s.Err()
	}
	return func() error {
		msg, err := ask(p)
		if err != nil {
			return err
		}
		call := msg.Content[0].AsToolUse()
		if err := modeltest.IsBenchCall(len(msg.Content), string(call.Input)); err != nil {
			return err
		}
		next := p
		next.Messages = append(slices.Clip(p.Messages), msg.ToParam(), sdk.NewUserMessage(sdk.NewToolResultBlock(call.ID, "9 degrees", false)))
		_, err = ask(next)
		return err
	}
}

func BenchmarkDeltas(b *testing.B) { benchmark().RunDeltas(b) }
func BenchmarkTurn(b *testing.B)   { benchmark().RunTurn(b) }
