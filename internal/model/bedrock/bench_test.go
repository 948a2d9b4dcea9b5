package bedrock_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// benchAnswer is an answer in frames that are made beforehand.
func benchAnswer(b *testing.B, middle, reason string) []byte {
	res, err := answering([]byte("event: messageStart\ndata: {\"role\":\"assistant\",\"p\":\"abcd\"}\n\n" + middle +
		"event: contentBlockStop\ndata: {\"contentBlockIndex\":0,\"p\":\"ab\"}\n\n" +
		"event: messageStop\ndata: {\"p\":\"ab\",\"stopReason\":\"" + reason + "\"}\n\n" +
		"event: metadata\ndata: {\"metrics\":{\"latencyMs\":9},\"p\":\"ab\",\"usage\":{\"inputTokens\":18,\"outputTokens\":1000,\"totalTokens\":1018}}\n\n")).Get("http://x.test/")
	if err != nil {
		b.Fatal(err)
	}
	frames, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return frames
}

func benchmark(b *testing.B) *modeltest.Bench {
	input := func(piece string) string {
		return "event: contentBlockDelta\ndata: {\"contentBlockIndex\":0,\"delta\":{\"toolUse\":{\"input\":" + piece + "}},\"p\":\"abcdefghij\"}\n\n"
	}
	return &modeltest.Bench{
		ContentType: framesType,
		Text: benchAnswer(b, modeltest.Pieces(
			"event: contentBlockDelta\ndata: {\"contentBlockIndex\":0,\"delta\":{\"text\":\" word%d\"},\"p\":\"abcdefghijklmnop\"}\n\n"), "end_turn"),
		Call: benchAnswer(b, "event: contentBlockStart\ndata: {\"contentBlockIndex\":0,\"p\":\"abc\",\"start\":{\"toolUse\":{\"name\":\"get_weather\",\"toolUseId\":\"tooluse_1\"}}}\n\n"+
			input(`"{\"ci"`)+input(`"ty\": \"Os"`)+input(`"lo\"}"`), "tool_use"),
		Model: func(b *testing.B, c *http.Client) model.Model { return local(b, c) },
		SDKText: func(b *testing.B, c *http.Client) func() (int, error) {
			client := sdkClient(c)
			return func() (int, error) {
				_, _, text, err := benchAsk(b, client, &bedrockruntime.ConverseStreamInput{ModelId: aws.String("m")})
				return len(text), err
			}
		},
		SDKTurn: benchTurn,
	}
}

// benchAsk makes a call with the SDK: the first call of a tool in the answer, its
// arguments, and the text.
func benchAsk(b *testing.B, c *bedrockruntime.Client, in *bedrockruntime.ConverseStreamInput) (call types.ToolUseBlockStart, args, text string, err error) {
	res, err := c.ConverseStream(b.Context(), in)
	if err != nil {
		return call, "", "", err
	}
	var said, input strings.Builder
	for e := range res.GetStream().Events() {
		switch e := e.(type) {
		case *types.ConverseStreamOutputMemberContentBlockStart:
			if s, ok := e.Value.Start.(*types.ContentBlockStartMemberToolUse); ok {
				call = s.Value
			}
		case *types.ConverseStreamOutputMemberContentBlockDelta:
			switch d := e.Value.Delta.(type) {
			case *types.ContentBlockDeltaMemberText:
				said.WriteString(d.Value)
			case *types.ContentBlockDeltaMemberToolUse:
				input.WriteString(*d.Value.Input)
			}
		}
	}
	return call, input.String(), said.String(), res.GetStream().Close()
}

func benchTurn(b *testing.B, c *http.Client) func() error {
	client := sdkClient(c)
	in := &bedrockruntime.ConverseStreamInput{ModelId: aws.String("m"), ToolConfig: &types.ToolConfiguration{}}
	text := func(s string) types.ContentBlock { return &types.ContentBlockMemberText{Value: s} }
	use := func(id, name, args string) types.ContentBlock {
		var v map[string]any
		if err := json.Unmarshal([]byte(args), &v); err != nil {
			b.Fatal(err)
		}
		return &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{ToolUseId: &id, Name: &name, Input: document.NewLazyDocument(v)}}
	}
	result := func(id, s string) types.ContentBlock {
		return &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
			ToolUseId: &id, Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: s}},
		}}
	}
	say := func(role types.ConversationRole, blocks ...types.ContentBlock) types.Message {
		return types.Message{Role: role, Content: blocks}
	}
	for _, m := range modeltest.BenchHistory() {
		switch m.Role {
		case holdfast.RoleSystem:
			in.System = append(in.System, &types.SystemContentBlockMemberText{Value: m.Content})
		case holdfast.RoleTool:
			in.Messages = append(in.Messages, say(types.ConversationRoleUser, result(m.ToolCallID, m.Content)))
		case holdfast.RoleUser:
			in.Messages = append(in.Messages, say(types.ConversationRoleUser, text(m.Content)))
		default:
			blocks := []types.ContentBlock{text(m.Content)}
			for _, call := range m.ToolCalls {
				blocks = append(blocks, use(call.ID, call.Function.Name, call.Function.Arguments))
			}
			in.Messages = append(in.Messages, say(types.ConversationRoleAssistant, blocks...))
		}
	}
	for _, t := range modeltest.Tools() {
		schema := map[string]any{"type": "object"}
		if len(t.Parameters) > 0 {
			if err := json.Unmarshal(t.Parameters, &schema); err != nil {
				b.Fatal(err)
			}
		}
		in.ToolConfig.Tools = append(in.ToolConfig.Tools, &types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: &t.Name, Description: &t.Description, InputSchema: &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(schema)},
		}})
	}
	return func() error {
		call, args, _, err := benchAsk(b, client, in)
		if err != nil {
			return err
		}
		if err := modeltest.IsBenchCall(1, args); err != nil {
			return err
		}
		next := *in
		next.Messages = append(slices.Clip(in.Messages), say(types.ConversationRoleAssistant, use(*call.ToolUseId, *call.Name, args)),
			say(types.ConversationRoleUser, result(*call.ToolUseId, "9 degrees")))
		_, _, _, err = benchAsk(b, client, &next)
		return err
	}
}

func BenchmarkDeltas(b *testing.B) { benchmark(b).RunDeltas(b) }
func BenchmarkTurn(b *testing.B)   { benchmark(b).RunTurn(b) }
