package gemini

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// response is what is read of a GenerateContentResponse.
type response struct {
	Candidates []struct {
		Index   int `json:"index"`
		Content struct {
			Parts []wirePart `json:"parts"`
		} `json:"content"`
		FinishReason  string `json:"finishReason"`
		FinishMessage string `json:"finishMessage"`
	} `json:"candidates"`
	PromptFeedback *struct {
		BlockReason        string `json:"blockReason"`
		BlockReasonMessage string `json:"blockReasonMessage"`
	} `json:"promptFeedback"`
	Usage *struct {
		Prompt     int64 `json:"promptTokenCount"`
		ToolPrompt int64 `json:"toolUsePromptTokenCount"`
		Cached     int64 `json:"cachedContentTokenCount"`
		Candidates int64 `json:"candidatesTokenCount"`
		Thoughts   int64 `json:"thoughtsTokenCount"`
	} `json:"usageMetadata"`
	ModelVersion string          `json:"modelVersion"`
	Error        json.RawMessage `json:"error"`
}

type wirePart struct {
	Text         string `json:"text"`
	Thought      bool   `json:"thought"`
	Signature    string `json:"thoughtSignature"`
	FunctionCall *struct {
		ID   string          `json:"id"`
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	} `json:"functionCall"`
}

// decoder reads the events of one answer.
type decoder struct {
	m      *Model
	seed   [][]byte // what invented ids depend on
	model  string
	parts  []part
	worth  bool // parts have something that must go back
	calls  int
	reason string
	usage  *model.Usage
}

// Complete reports whether the API has told why the answer ends. The stream has
// no last word of its own.
func (d *decoder) Complete() bool { return d.reason != "" }

func unreadable(err error) error { return &model.UnreadableError{Err: err} }

// Event implements [model.Decoder].
func (d *decoder) Event(_, data []byte, yield func(model.Chunk) error) (bool, error) {
	var r response
	if err := json.Unmarshal(data, &r); err != nil {
		if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '[' && json.Valid(data) {
			return false, d.m.failure(0, nil, data).Err()
		}
		return false, unreadable(err)
	}
	if len(r.Error) > 0 {
		return false, d.m.failure(0, nil, data).Err()
	}
	if f := r.PromptFeedback; f != nil && f.BlockReason != "" {
		reason := f.BlockReasonMessage
		if reason == "" {
			reason = f.BlockReason
		}
		return false, model.Failure{
			Provider: d.m.cfg.Provider, Code: holdfast.CodeModelFilter, Message: reason, Secrets: []string{d.m.cfg.APIKey},
		}.Err()
	}
	if u := r.Usage; u != nil {
		d.usage = &model.Usage{
			InputTokens: u.Prompt + u.ToolPrompt, OutputTokens: u.Candidates + u.Thoughts,
			CachedInputTokens: u.Cached, ReasoningTokens: u.Thoughts,
		}
	}
	for i := range r.Candidates {
		c := &r.Candidates[i]
		if c.Index != 0 {
			continue // only one was asked for
		}
		var out model.Chunk
		for j := range c.Content.Parts {
			if err := d.part(&out, &c.Content.Parts[j]); err != nil {
				return false, err
			}
		}
		if c.FinishReason != "" {
			d.reason = c.FinishReason
			if err := d.broken(c.FinishReason); err != nil {
				return false, err
			}
		}
		if out.Text == "" && out.Reasoning == "" && len(out.ToolCalls) == 0 {
			continue
		}
		if r.ModelVersion != d.model {
			d.model, out.Model = r.ModelVersion, r.ModelVersion
		}
		if err := yield(out); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Whole implements [model.WholeDecoder] for an answer that is complete at once,
// and for the list of its events, which is how the API streams without alt=sse.
func (d *decoder) Whole(body []byte, yield func(model.Chunk) error) (bool, error) {
	list := []json.RawMessage{body}
	if body = bytes.TrimSpace(body); len(body) > 0 && body[0] == '[' {
		if json.Unmarshal(body, &list) != nil {
			return false, nil
		}
	}
	for i, e := range list {
		var r struct {
			Candidates     []json.RawMessage `json:"candidates"`
			PromptFeedback json.RawMessage   `json:"promptFeedback"`
		}
		if i == 0 && (json.Unmarshal(e, &r) != nil || len(r.Candidates) == 0 && len(r.PromptFeedback) == 0) {
			return false, nil
		}
		if _, err := d.Event(nil, e, yield); err != nil {
			return true, err
		}
	}
	if d.reason == "" {
		d.reason = "STOP"
	}
	return true, d.Finish(yield)
}

// part adds a part to the chunk and to what is remembered.
func (d *decoder) part(out *model.Chunk, w *wirePart) error {
	p := part{Type: "text", Bytes: len(w.Text), Signature: w.Signature}
	switch {
	case w.FunctionCall != nil:
		if d.m.set.single && d.calls > 0 {
			return nil
		}
		if w.FunctionCall.Name == "" {
			return unreadable(errors.New("a call without a name"))
		}
		p = part{Type: "call", ID: w.FunctionCall.ID, Wire: true, Signature: w.Signature}
		if p.ID == "" || slices.ContainsFunc(d.parts, func(o part) bool { return o.ID == p.ID }) {
			p.ID, p.Wire = d.invent(), false
		}
		d.calls++
		var args bytes.Buffer
		if len(w.FunctionCall.Args) > 0 && string(w.FunctionCall.Args) != "null" {
			if err := json.Compact(&args, w.FunctionCall.Args); err != nil {
				return unreadable(err)
			}
		} else {
			args.WriteString("{}")
		}
		out.ToolCalls = append(out.ToolCalls, holdfast.NewToolCall(p.ID, w.FunctionCall.Name, args.String()))
	case w.Thought:
		p.Type = "thought"
		out.Reasoning += w.Text
	default:
		// Parts of kinds that nobody asked for (code, images) have no text either.
		out.Text += w.Text
		if w.Text == "" && w.Signature == "" {
			return nil
		}
	}
	d.worth = d.worth || p.Signature != "" || p.Wire
	// Text without a signature may be joined with more of its kind, no other.
	if n := len(d.parts); n > 0 && p.Type != "call" && p.Signature == "" && d.parts[n-1].Type == p.Type && d.parts[n-1].Signature == "" {
		d.parts[n-1].Bytes += p.Bytes
		return nil
	}
	d.parts = append(d.parts, p)
	return nil
}

// invent makes an id of the request and the call's place in the answer: the same
// again if the same is answered again, and another in every other request.
func (d *decoder) invent() string {
	h := sha256.New()
	for _, s := range d.seed {
		h.Write(strconv.AppendInt(nil, int64(len(s)), 10))
		h.Write([]byte{':'})
		h.Write(s)
	}
	h.Write(strconv.AppendInt(nil, int64(d.calls), 10))
	return "call_" + hex.EncodeToString(h.Sum(nil)[:12])
}

// broken is the error of an answer that the model has spoilt, nil for others.
// The next attempt may be better, but for one that the conversation itself spoils.
func (d *decoder) broken(reason string) error {
	switch reason {
	case "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS":
		return &model.Transient{Err: holdfast.WrapError(holdfast.CodeModelFailed, fmt.Errorf("finish reason %s", reason),
			d.m.cfg.Provider+" could not complete its answer: the model wrote what cannot be read")}
	case "MISSING_THOUGHT_SIGNATURE":
		return holdfast.WrapError(holdfast.CodeInvalid, fmt.Errorf("finish reason %s", reason),
			d.m.cfg.Provider+" misses the signature of a thought in the conversation")
	}
	return nil
}

// finishReason maps the API's reasons to those of model.Chunk.
func (d *decoder) finishReason() string {
	switch d.reason {
	case "MAX_TOKENS", "CONTINUATION":
		return "length"
	case "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return "content_filter"
	}
	if d.calls > 0 {
		return "tool_calls"
	}
	return "stop"
}

// Finish hands out the reason of the end, the usage, and what goes back.
func (d *decoder) Finish(yield func(model.Chunk) error) error {
	c := model.Chunk{FinishReason: d.finishReason()}
	if d.m.trackUsage() {
		c.Usage = d.usage
	}
	if d.worth {
		b, err := json.Marshal(opaque{API: "generateContent", Parts: d.parts})
		if err != nil {
			return holdfast.WrapError(holdfast.CodeModelFailed, err, "keeping what "+d.m.cfg.Provider+" wants back")
		}
		c.Opaque = b
	}
	return yield(c)
}
