package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// What an agent for a peer does in one model call and in one tool call; Holdfast
// brings its own.

var outside = &http.Client{Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512}}

func post(ctx context.Context, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := outside.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %d: %s", url, res.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// ask is one model call.
func ask(ctx context.Context, base string, conversation []message) (message, error) {
	var out struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	err := post(ctx, base+"/v1/chat/completions", map[string]any{"model": "peer", "messages": conversation}, &out)
	if err == nil && len(out.Choices) == 0 {
		err = errors.New("the model answered nothing")
	}
	if err != nil {
		return message{}, err
	}
	return out.Choices[0].Message, nil
}

// work is one tool call.
func work(ctx context.Context, base string, c toolCall) (message, error) {
	var out json.RawMessage
	if err := post(ctx, base+"/tool", json.RawMessage(c.Function.Arguments), &out); err != nil {
		return message{}, err
	}
	return message{Role: "tool", Content: string(out), ToolCallID: c.ID}, nil
}
