package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// typePosition is the type of what a stream begins with. It is no event of the
// log: it has no seq, and as a server-sent event no id and a name of its own, so
// that the Last-Event-ID of who reconnects stays what it was, and EventSource
// hands it to nobody who has not asked for that name.
const typePosition = "stream_position"

// streamPosition says where a stream begins and where its session stands. Who
// subscribes after it has sent something knows by it what is past and what is
// still to come.
type streamPosition struct {
	Type    string `json:"type"`
	Session string `json:"session"`
	// After is the seq behind which the stream begins.
	After uint64 `json:"after"`
	// Head is the session's newest seq when the stream began. What follows describes
	// the session there, and is left out where this process does not know it.
	Head    uint64 `json:"head"`
	Status  string `json:"status,omitempty"`
	Waiting string `json:"waiting,omitempty"`
	Run     string `json:"run,omitempty"`
}

// positionSchema describes a streamPosition.
func positionSchema() *huma.Schema {
	str, seq := huma.TypeString, func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: doc}
	}
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Required: []string{"type", "session", "after", "head"},
		Description: "Where a stream begins and where its session stands. It comes first, is no event of the log and has no seq.",
		Properties: map[string]*huma.Schema{
			"type":    {Type: str, Enum: []any{typePosition}},
			"session": {Type: str},
			"after":   seq("Sequence number behind which the stream begins."),
			"head":    seq("Sequence number of the session's newest event when the stream began. Events up to it were there before."),
			"status": {
				Type: str, Enum: []any{events.StatusIdle, events.StatusQueued, events.StatusRunning, events.StatusWaiting},
				Description: "As in the session's document, at head. Left out while the archive does not answer.",
			},
			"waiting": {Type: str, Description: "What the session waits for, if status is waiting: approval, authorization, timer, input, iterations, or error (each attempt to go on has failed)."},
			"run":     {Type: str, Description: "The run that is under way at head, if there is one."},
		},
	}
}

// begin writes what comes before the first event.
func (s *eventSink) begin(after, head uint64, session string, row events.SessionInfo) error {
	if !s.replay.position {
		return nil
	}
	p := streamPosition{Type: typePosition, Session: session, After: after, Head: head}
	if row.Head.Seq == head {
		p.Status, p.Waiting, p.Run = row.Status, row.Waiting, row.Run
	}
	line, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("say where the session stands: %w", err)
	}
	if s.lines {
		err = s.write(append(line, '\n'))
	} else {
		err = s.write(slices.Concat([]byte("event: position\ndata: "), line, []byte("\n\n")))
	}
	return errors.Join(err, s.flush())
}

// standing reads the row of a session as of the end of its log.
func (a *API) standing(ctx context.Context, ref holdfast.SessionRef) (head uint64, row events.SessionInfo, err error) {
	end, err := events.ReadEnd(ctx, a.cfg.Bus, a.cfg.Store, ref)
	if err != nil {
		return 0, row, unavailable(err)
	}
	row = rowBefore(ctx, a.reader, ref, end)
	if end.Frame != nil {
		fold(&row, end.Frame.Events)
	}
	return end.Seq, row, nil
}

// rowTimeout is how long what the store does not have yet may take to be read.
const rowTimeout = time.Second

// rowBefore returns the row that the last frame of a log goes on from: what the
// store has, and what came after that. It is the zero value where that cannot be
// read; what the frame says is known all the same.
func rowBefore(ctx context.Context, reader *events.Reader, ref holdfast.SessionRef, end events.End) events.SessionInfo {
	if end.Info == nil || end.Frame != nil && end.Frame.Events[0].Type == holdfast.TypeSessionCreated {
		return events.SessionInfo{}
	}
	row := *end.Info
	if end.Frame == nil || row.Head.Seq+1 >= end.Frame.First() {
		return row
	}
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	_, err := reader.Read(ctx, ref, row.Head.Seq, func(e events.Envelope) error {
		if e.Seq >= end.Frame.First() {
			return errDone
		}
		fold(&row, []events.Envelope{e})
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return events.SessionInfo{}
	}
	return row
}

// fold goes on with a row. Its Status is "" as long as nothing has said what the
// session does.
func fold(row *events.SessionInfo, evs []events.Envelope) {
	for i := range evs {
		e := &evs[i]
		switch {
		case e.Seq <= row.Head.Seq:
			continue
		case e.Type == holdfast.TypeSessionCreated:
			// What a fork inherits does not go on in it.
			*row = events.SessionInfo{}
		case e.Type == holdfast.TypeRunFinished && row.Status == "":
			// Whether another run goes on is not known.
			row.Head = events.Head{Seq: e.Seq, Epoch: e.Epoch}
			continue
		}
		if err := row.Apply(e); err != nil {
			*row = events.SessionInfo{Head: events.Head{Seq: e.Seq, Epoch: e.Epoch}}
		}
	}
}
