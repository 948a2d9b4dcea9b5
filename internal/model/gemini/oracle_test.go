package gemini

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func local(t testing.TB, client *http.Client) *Model {
	t.Helper()
	m, err := New(model.Config{Provider: "google", Model: "m", BaseURL: "http://x.test", MaxRetries: -1}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// every is the pattern of all recordings.
const every = "testdata/*/*.txtar"

func answering(stream []byte) *http.Client { return modeltest.Answering(modeltest.EventStream, stream) }

// TestStreamsAgainstSDK decodes every recorded stream here and by the SDK.
func TestStreamsAgainstSDK(t *testing.T) {
	compared := 0
	for name, stream := range modeltest.Streams(t, every) {
		var got modeltest.Answer
		if err := local(t, answering(stream)).Stream(t.Context(), modeltest.Hello(), got.Add); err != nil {
			continue // what the SDK makes of broken streams is not the measure
		}
		client, err := genai.NewClient(t.Context(), &genai.ClientConfig{
			APIKey: "k", Backend: genai.BackendGeminiAPI, HTTPClient: answering(stream),
			HTTPOptions: genai.HTTPOptions{BaseURL: "http://x.test"},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := modeltest.Answer{Chunks: got.Chunks, Finish: got.Finish, Opaque: got.Opaque}
		var last *genai.GenerateContentResponseUsageMetadata
		var reason genai.FinishReason
		for r, err := range client.Models.GenerateContentStream(t.Context(), "m", genai.Text("x"), nil) {
			if err != nil {
				t.Fatalf("%s: the SDK fails: %v", name, err)
			}
			want.Model, last = r.ModelVersion, r.UsageMetadata
			for _, c := range r.Candidates {
				reason = c.FinishReason
				if c.Content == nil {
					continue
				}
				for _, p := range c.Content.Parts {
					switch {
					case p.FunctionCall != nil:
						args, err := json.Marshal(p.FunctionCall.Args)
						if err != nil {
							t.Fatal(err)
						}
						id := p.FunctionCall.ID
						if id == "" {
							id = got.ToolCalls[len(want.ToolCalls)].ID
						}
						want.ToolCalls = append(want.ToolCalls, holdfast.NewToolCall(id, p.FunctionCall.Name, string(args)))
					case p.Thought:
						want.Reasoning += p.Text
					default:
						want.Text += p.Text
					}
					if len(p.ThoughtSignature) > 0 && !bytes.Contains(got.Opaque, []byte(base64.StdEncoding.EncodeToString(p.ThoughtSignature))) {
						t.Errorf("%s: a signature is lost", name)
					}
				}
			}
		}
		if wanted := map[genai.FinishReason]string{
			genai.FinishReasonStop: "stop", genai.FinishReasonMaxTokens: "length", genai.FinishReasonSafety: "content_filter",
		}[reason]; wanted != got.Finish && (wanted != "stop" || got.Finish != "tool_calls" || len(want.ToolCalls) == 0) {
			t.Errorf("%s: finish reason %s, the SDK has %s", name, got.Finish, reason)
		}
		want.Usage = &model.Usage{
			InputTokens: int64(last.PromptTokenCount), OutputTokens: int64(last.CandidatesTokenCount + last.ThoughtsTokenCount),
			CachedInputTokens: int64(last.CachedContentTokenCount), ReasoningTokens: int64(last.ThoughtsTokenCount),
		}
		if n := int64(last.TotalTokenCount); n != got.Usage.InputTokens+got.Usage.OutputTokens {
			t.Errorf("%s: the recording's total %d does not add up", name, n)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-SDK +ours)\n%s", name, d)
		}
		compared++
	}
	if compared < 18 {
		t.Errorf("only %d recordings were compared", compared)
	}
}

// wire is the request's body in the SDK's types.
type wire struct {
	SystemInstruction *genai.Content          `json:"systemInstruction,omitempty"`
	Contents          []*genai.Content        `json:"contents"`
	Tools             []*genai.Tool           `json:"tools,omitempty"`
	GenerationConfig  json.RawMessage         `json:"generationConfig,omitempty"`
	SafetySettings    []*genai.SafetySetting  `json:"safetySettings,omitempty"`
	ServiceTier       string                  `json:"serviceTier,omitempty"`
	Labels            map[string]string       `json:"labels,omitempty"`
	config            *genai.GenerationConfig // of GenerationConfig
}

// TestRequestsAgainstSDK reads our bodies with the SDK's types and writes them
// again: what the types do not know, or take for something else, differs.
func TestRequestsAgainstSDK(t *testing.T) {
	n := 0
	for name, rec := range modeltest.Recordings(t, every) {
		// The suite has compared the recorded body with ours. The text that stands for
		// a missing signature is no base64, which is all that the SDK can send.
		body := []byte(strings.ReplaceAll(string(rec.Exchanges[0].Body), noSignature, "AAAA"))
		var w wire
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&w); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if w.GenerationConfig != nil {
			dec := json.NewDecoder(bytes.NewReader(w.GenerationConfig))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&w.config); err != nil {
				t.Errorf("%s: generationConfig: %v", name, err)
			}
		}
		again, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var want, got map[string]any
		if err := errors.Join(json.Unmarshal(body, &want), json.Unmarshal(again, &got)); err != nil {
			t.Fatal(err)
		}
		// The SDK leaves out arguments that are empty.
		for _, c := range want["contents"].([]any) {
			for _, p := range c.(map[string]any)["parts"].([]any) {
				if call, ok := p.(map[string]any)["functionCall"].(map[string]any); ok && len(call["args"].(map[string]any)) == 0 {
					delete(call, "args")
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-ours +SDK)\n%s", name, d)
		}
		n++
	}
	if n < 40 {
		t.Errorf("only %d bodies were compared", n)
	}
}

func FuzzStream(f *testing.F) {
	modeltest.FuzzStream(f, every, nil, func(t testing.TB, stream []byte) model.Model { return local(t, answering(stream)) })
}
