package holdfast

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Event is something that happened in a session. On the wire it is one JSON
// object on one line with a member "type"; [MarshalEvent] and [UnmarshalEvent]
// are the codec.
type Event interface {
	// GetAgentName returns the agent that the event belongs to, "" for events
	// of the session as a whole.
	GetAgentName() string
	// EventType returns the wire name, for example "agent_choice".
	EventType() string
	// payload returns the value whose JSON object has the event's own members,
	// without type and agent_name.
	payload() any
	// setAgent is how the codec fills in agent_name.
	setAgent(name string)
}

// AgentContext is embedded in every event and names the agent it belongs to.
type AgentContext struct {
	AgentName string `json:"-"`
}

// GetAgentName returns the agent's name.
func (a *AgentContext) GetAgentName() string { return a.AgentName }

func (a *AgentContext) setAgent(name string) { a.AgentName = name }

// UnknownEvent is an event of a type that this version does not know. Its bytes
// pass through unchanged.
type UnknownEvent struct {
	AgentContext
	Type string
	// Payload is the JSON object of the event's own members as it was read.
	Payload json.RawMessage
	// Raw is the whole line if the event was read from the wire; MarshalEvent
	// gives it back byte for byte.
	Raw json.RawMessage
}

// EventType returns the type as it was read.
func (e *UnknownEvent) EventType() string { return e.Type }
func (e *UnknownEvent) payload() any      { return e.Payload }

// ErrNotEvent is wrapped by the errors of [UnmarshalEvent] for input that is
// not a JSON object with a string member "type".
var ErrNotEvent = errors.New("not an event")

// MarshalEvent returns the event as one line of JSON, without the newline.
func MarshalEvent(e Event) ([]byte, error) {
	if u, ok := e.(*UnknownEvent); ok && u.Raw != nil {
		return u.Raw, nil
	}
	p, err := MarshalPayload(e)
	if err != nil {
		return nil, err
	}
	return AppendWire(make([]byte, 0, len(p)+64), e.EventType(), e.GetAgentName(), "", p), nil
}

// MarshalPayload returns the JSON object of the event's own members, the form
// in which the log stores it.
func MarshalPayload(e Event) ([]byte, error) {
	switch e := e.(type) { // nearly all events of a log are of these types
	case *AgentChoiceEvent:
		return contentPayload(e.Content), nil
	case *AgentChoiceReasoningEvent:
		return contentPayload(e.Content), nil
	case *UnknownEvent:
		return e.Payload, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the log is no web page; code and markup stay short
	if err := enc.Encode(e.payload()); err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.EventType(), err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func contentPayload(content string) []byte {
	dst := make([]byte, 0, len(content)+16)
	dst = append(dst, `{"content":`...)
	return append(appendJSONString(dst, content), '}')
}

// AppendWire appends the wire form of an event to dst: an object with type,
// agent_name if there is an agent, session_id if it is given and the type
// carries it, and the members of payload, a JSON object, byte for byte.
func AppendWire(dst []byte, typ, agent, sessionID string, payload []byte) []byte {
	dst = append(dst, `{"type":`...)
	dst = appendJSONString(dst, typ)
	if agent != "" {
		dst = append(dst, `,"agent_name":`...)
		dst = appendJSONString(dst, agent)
	}
	if sessionID != "" && CarriesSessionID(typ) {
		dst = append(dst, `,"session_id":`...)
		dst = appendJSONString(dst, sessionID)
	}
	payload = bytes.TrimSpace(payload)
	if len(payload) > 2 && payload[0] == '{' {
		if inner := bytes.TrimSpace(payload[1 : len(payload)-1]); len(inner) > 0 {
			dst = append(dst, ',')
			return append(append(dst, inner...), '}')
		}
	}
	return append(dst, '}')
}

// CarriesSessionID reports whether the wire form of the type has a member
// session_id. The log does not store it: a fork of a session shares the
// stored events and has another id.
func CarriesSessionID(typ string) bool {
	switch typ {
	case TypeStreamStarted, TypeStreamStopped, TypeSessionTitle, TypeSessionSummary, TypeSessionCompaction:
		return true
	}
	return false
}

// UnmarshalEvent reads one event in wire form. An event of a type that this
// version does not know becomes an [UnknownEvent] and keeps its bytes.
func UnmarshalEvent(line []byte) (Event, error) {
	var head struct {
		Type  *string `json:"type"`
		Agent string  `json:"agent_name"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotEvent, err)
	}
	if head.Type == nil {
		return nil, fmt.Errorf("%w: no member \"type\"", ErrNotEvent)
	}
	make, ok := registry[*head.Type]
	if !ok {
		u := &UnknownEvent{Type: *head.Type, Raw: bytes.Clone(line), Payload: bytes.Clone(line)}
		u.AgentName = head.Agent
		return u, nil
	}
	e := make()
	if err := json.Unmarshal(line, e.payload()); err != nil {
		return nil, fmt.Errorf("decode event %s: %w", *head.Type, err)
	}
	e.setAgent(head.Agent)
	return e, nil
}

// UnmarshalPayload reads an event from the form in which the log stores it.
func UnmarshalPayload(typ, agent string, payload []byte) (Event, error) {
	make, ok := registry[typ]
	if !ok {
		u := &UnknownEvent{Type: typ, Payload: bytes.Clone(payload)}
		u.AgentName = agent
		return u, nil
	}
	e := make()
	if len(payload) > 0 {
		if err := json.Unmarshal(payload, e.payload()); err != nil {
			return nil, fmt.Errorf("decode event %s: %w", typ, err)
		}
	}
	e.setAgent(agent)
	return e, nil
}

// KnownType reports whether this version has a struct for the type.
func KnownType(typ string) bool { _, ok := registry[typ]; return ok }

// EventTypes returns the types that this version has a struct for, in order.
func EventTypes() []string { return slices.Sorted(maps.Keys(registry)) }

// appendJSONString appends s as a JSON string. Names and most of a model's words
// are plain ASCII, which needs no escaping and no allocation.
func appendJSONString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(s); err != nil { // a string always encodes
				panic(err)
			}
			return append(dst, bytes.TrimRight(b.Bytes(), "\n")...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// InternType returns typ as a string, without an allocation if it is known.
func InternType(typ []byte) string {
	if s, ok := typeNames[string(typ)]; ok {
		return s
	}
	return string(typ)
}

var typeNames = func() map[string]string {
	m := make(map[string]string, len(registry))
	for t := range registry {
		m[t] = t
	}
	return m
}()
