package mcptool

import (
	"encoding/json"

	"github.com/mark3labs/mcp-go/mcp"
)

// reply is a JSON-RPC response of ours.
type reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *replyError     `json:"error,omitempty"`
}

type replyError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// answerServer makes the answer to a request of a server that nobody else takes. No
// capability but elicitation is declared to servers, so a well-behaved one only
// pings. An elicitation for which there is no user to ask is declined rather than
// refused: the tool then goes on without the answer. nil is for what is no request.
func answerServer(raw []byte) *reply {
	var req struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.Unmarshal(raw, &req); err != nil || len(req.ID) == 0 {
		return nil
	}
	r := &reply{JSONRPC: mcp.JSONRPC_VERSION, ID: req.ID}
	switch mcp.MCPMethod(req.Method) {
	case mcp.MethodPing:
		r.Result = struct{}{}
	case mcp.MethodElicitationCreate:
		r.Result = map[string]string{"action": "decline"}
	default:
		r.Error = &replyError{Code: mcp.METHOD_NOT_FOUND, Message: "this client does not offer " + req.Method}
	}
	return r
}
