package natsbus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// api asks JetStream's management API and decodes the answer into out, if that
// is not nil. A refusal is a [*jetstream.APIError].
func (b *Bus) api(ctx context.Context, call string, request, out any) error {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
	}
	resp, err := b.mux.do(ctx, &nats.Msg{Subject: "$JS.API." + call, Data: body})
	if err != nil {
		if notSent(err) {
			return unavailable("there is no connection to NATS", err)
		}
		return err
	}
	if s := status(resp); s != "" {
		return unavailable("JetStream is not available at the moment", fmt.Errorf("status %s", s))
	}
	var refusal struct {
		Error *jetstream.APIError `json:"error"`
	}
	// An error is the second member of an answer, see ApiResponse in nats-server;
	// messages are large and need not be decoded twice.
	if bytes.Contains(resp.Data[:min(len(resp.Data), 256)], []byte(`"error":{`)) {
		if err := json.Unmarshal(resp.Data, &refusal); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if refusal.Error != nil {
			if refusal.Error.Code == 503 {
				return unavailable("JetStream is not available at the moment", refusal.Error)
			}
			return refusal.Error
		}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(resp.Data, out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

type purgeRequest struct {
	// Sequence is the first that stays, 0 for none.
	Sequence uint64 `json:"seq,omitempty"`
	Filter   string `json:"filter,omitempty"`
}

func (b *Bus) purge(ctx context.Context, stream string, r purgeRequest) error {
	return b.api(ctx, "STREAM.PURGE."+stream, r, nil)
}

// subjects lists the subjects of a stream that match a filter, sorted.
func (b *Bus) subjects(ctx context.Context, stream, filter string) ([]string, error) {
	list, _, err := b.subjectsAt(ctx, stream, filter)
	return list, err
}

// subjectsAt also returns the stream's last position before the list was made.
func (b *Bus) subjectsAt(ctx context.Context, stream, filter string) (list []string, at uint64, err error) {
	for {
		var info struct {
			Total int `json:"total"`
			State struct {
				Last     uint64            `json:"last_seq"`
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		request := map[string]any{"subjects_filter": filter, "offset": len(list)}
		if err := b.api(ctx, "STREAM.INFO."+stream, request, &info); err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", filter, err)
		}
		if len(list) == 0 {
			at = info.State.Last
		}
		for subject := range info.State.Subjects {
			list = append(list, subject)
		}
		if len(info.State.Subjects) == 0 || len(list) >= info.Total {
			slices.Sort(list)
			return slices.Compact(list), at, nil
		}
	}
}
