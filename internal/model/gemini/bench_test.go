package gemini

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genai"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func benchmark() *modeltest.Bench {
	const begin, usage = `data: {"candidates": [{"content": {"parts": [`, `"usageMetadata": {"promptTokenCount": 18,"candidatesTokenCount": 9,"totalTokenCount": 27,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 18}]},"modelVersion": "gemini-2.5-flash","responseId": "ru1garvBEoOiqtsP2fznmQw"}` + "\r\n\r\n"
	return &modeltest.Bench{
		Text: []byte(modeltest.Pieces(begin+`{"text": " word%d"}],"role": "model"},"index": 0}],`+usage) +
			begin + `{"text": ""}],"role": "model"},"finishReason": "STOP","index": 0}],` + usage),
		Call:  []byte(begin + `{"functionCall": {"name": "get_weather","args": {"city": "Oslo"}}}],"role": "model"},"finishReason": "STOP","index": 0}],` + usage),
		Model: func(b *testing.B, c *http.Client) model.Model { return local(b, c) },
		SDKText: func(b *testing.B, c *http.Client) func() (int, error) {
			client := benchClient(b, c)
			return func() (n int, err error) {
				for r, err := range client.Models.GenerateContentStream(b.Context(), "m", genai.Text("x"), nil) {
					if err != nil {
						return 0, err
					}
					n += len(r.Candidates[0].Content.Parts[0].Text)
				}
				return n, nil
			}
		},
		SDKTurn: benchTurn,
	}
}

func benchClient(b *testing.B, c *http.Client) *genai.Client {
	client, err := genai.NewClient(b.Context(), &genai.ClientConfig{
		APIKey: "k", Backend: genai.BackendGeminiAPI, HTTPClient: c, HTTPOptions: genai.HTTPOptions{BaseURL: "http://x.test"},
	})
	if err != nil {
		b.Fatal(err)
	}
	return client
}

func benchTurn(b *testing.B, c *http.Client) func() error {
	client := benchClient(b, c)
	cfg := &genai.GenerateContentConfig{}
	var contents []*genai.Content
	for _, m := range modeltest.BenchHistory() {
		switch m.Role {
		case holdfast.RoleSystem:
			cfg.SystemInstruction = genai.NewContentFromText(m.Content, genai.RoleUser)
		case holdfast.RoleTool:
			contents = append(contents, genai.NewContentFromFunctionResponse("get_weather", map[string]any{"output": m.Content}, genai.RoleUser))
		case holdfast.RoleUser:
			contents = append(contents, genai.NewContentFromText(m.Content, genai.RoleUser))
		default:
			parts := []*genai.Part{genai.NewPartFromText(m.Content)}
			for range m.ToolCalls {
				parts = append(parts, genai.NewPartFromFunctionCall("get_weather", map[string]any{"city": "Oslo"}))
			}
			contents = append(contents, genai.NewContentFromParts(parts, genai.RoleModel))
		}
	}
	declared := &genai.Tool{}
	for _, t := range modeltest.Tools() {
		d := &genai.FunctionDeclaration{Name: t.Name, Description: t.Description}
		if len(t.Parameters) > 0 {
			d.ParametersJsonSchema = t.Parameters
		}
		declared.FunctionDeclarations = append(declared.FunctionDeclarations, d)
	}
	cfg.Tools = []*genai.Tool{declared}
	ask := func(contents []*genai.Content) (call *genai.FunctionCall, text string, err error) {
		var all strings.Builder
		for r, err := range client.Models.GenerateContentStream(b.Context(), "m", contents, cfg) {
			if err != nil {
				return nil, "", err
			}
			for _, p := range r.Candidates[0].Content.Parts {
				all.WriteString(p.Text)
				if p.FunctionCall != nil {
					call = p.FunctionCall
				}
			}
		}
		return call, all.String(), nil
	}
	return func() error {
		call, _, err := ask(contents)
		if err != nil {
			return err
		}
		args, err := json.Marshal(call.Args)
		if err != nil {
			return err
		}
		if err := modeltest.IsBenchCall(1, string(args)); err != nil {
			return err
		}
		_, _, err = ask(append(slices.Clip(contents), genai.NewContentFromFunctionCall(call.Name, call.Args, genai.RoleModel),
			genai.NewContentFromFunctionResponse(call.Name, map[string]any{"output": "9 degrees"}, genai.RoleUser)))
		return err
	}
}

func BenchmarkDeltas(b *testing.B) { benchmark().RunDeltas(b) }
func BenchmarkTurn(b *testing.B)   { benchmark().RunTurn(b) }
