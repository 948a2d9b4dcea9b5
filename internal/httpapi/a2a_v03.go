package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2asrv"

	holdfast "github.com/holdfast-run/holdfast"
)

// A2A 0.3 over JSON-RPC: the SDK's server over the operations of a2a_operations.go,
// whose types are its own.

// a2aVersion03 is the version of the protocol that cards and refusals name.
const a2aVersion03 = "0.3.0"

// serveA2A03 answers a message of 0.3 that was read.
func (h *a2aHandler) serveA2A03(w http.ResponseWriter, r *http.Request, rc *http.ResponseController, body []byte) {
	if wrong := wrongA2A03(body); wrong != nil {
		writeJSON(w, http.StatusOK, "application/json", wrong)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.Header().Set("Content-Type", "application/json")
	a2asrv.NewJSONRPCHandler(h).ServeHTTP(flusher{w, rc, h.cfg.WriteTimeout}, r)
}

// wrongA2A03 refuses parameters that are none of the protocol, nil if they are.
// The library's own refusals tell how it is written.
func wrongA2A03(body []byte) *rpcAnswer {
	q, wrong := readRPC(body)
	if wrong != nil {
		return wrong
	}
	var params any
	switch q.method {
	case "message/send", "message/stream":
		params = &a2a.MessageSendParams{}
	case "tasks/get":
		params = &a2a.TaskQueryParams{}
	case "tasks/cancel", "tasks/resubscribe":
		params = &a2a.TaskIDParams{}
	default:
		return nil
	}
	if err := json.Unmarshal(q.params, params); err != nil {
		return refuseRPC(q.id, a2a.ErrInvalidParams, holdfast.Errorf(holdfast.CodeInvalid, "params: not those of %s in A2A %s", q.method, a2aVersion03), false)
	}
	return nil
}

// OnGetTaskPushConfig is not offered.
func (h *a2aHandler) OnGetTaskPushConfig(context.Context, *a2a.GetTaskPushConfigParams) (*a2a.TaskPushConfig, error) {
	return nil, errNoPush
}

// OnListTaskPushConfig is not offered.
func (h *a2aHandler) OnListTaskPushConfig(context.Context, *a2a.ListTaskPushConfigParams) ([]*a2a.TaskPushConfig, error) {
	return nil, errNoPush
}

// OnSetTaskPushConfig is not offered.
func (h *a2aHandler) OnSetTaskPushConfig(context.Context, *a2a.TaskPushConfig) (*a2a.TaskPushConfig, error) {
	return nil, errNoPush
}

// OnDeleteTaskPushConfig is not offered.
func (h *a2aHandler) OnDeleteTaskPushConfig(context.Context, *a2a.DeleteTaskPushConfigParams) error {
	return errNoPush
}

// OnGetExtendedAgentCard is not offered: the card is the same for all who may see
// it.
func (h *a2aHandler) OnGetExtendedAgentCard(context.Context) (*a2a.AgentCard, error) {
	return nil, a2a.ErrAuthenticatedExtendedCardNotConfigured
}
