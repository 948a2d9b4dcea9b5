package events

import (
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Envelope is one event in the log.
type Envelope struct {
	// Seq numbers the events of a session from 1 without gaps.
	Seq uint64
	// Epoch is the claim that wrote the event; it never falls. The event that
	// creates a session has epoch 0.
	Epoch uint64
	// Time is the writer's clock, in microseconds. It orders nothing.
	Time time.Time
	// Run is the run that the event belongs to, "" if none.
	Run  string
	Type string
	// V is the version of the type's payload, 1 unless the type says otherwise.
	V     int
	Agent string
	// Payload is the JSON object of the event's own members, kept byte for byte.
	Payload []byte
}

// Event decodes the envelope's payload.
func (e *Envelope) Event() (holdfast.Event, error) {
	return holdfast.UnmarshalPayload(e.Type, e.Agent, e.Payload)
}

// AppendWire appends the event's wire form, one line of JSON: the contract's
// members plus seq, run and time, which known clients ignore.
func (e *Envelope) AppendWire(dst []byte, sessionID string) []byte {
	dst = holdfast.AppendWire(dst, e.Type, e.Agent, sessionID, e.Payload)
	dst = append(dst[:len(dst)-1], `,"seq":`...)
	dst = appendUint(dst, e.Seq)
	if e.Run != "" && !carriesRun(e.Type) {
		dst = append(dst, `,"run":"`...)
		dst = append(dst, e.Run...) // ids need no escaping: holdfast.ValidateID
		dst = append(dst, '"')
	}
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	return append(dst, `"}`...)
}

// carriesRun reports whether the type has a member run of its own; a second one
// of that name would be refused by strict readers.
func carriesRun(typ string) bool {
	switch typ {
	case holdfast.TypeCommandAccepted, holdfast.TypeRunQueued, holdfast.TypeRunStarted,
		holdfast.TypeRunFinished, holdfast.TypeRunCanceled, holdfast.TypeRunContinued, holdfast.TypeRunScheduled:
		return true
	}
	return false
}

// Internal reports whether the type is machinery of ours, which clients of the
// original contract have no use for.
func Internal(typ string) bool {
	switch typ {
	case holdfast.TypeSessionCreated, holdfast.TypeSessionClaimed, holdfast.TypeSessionParked,
		holdfast.TypeSessionHandedOver, holdfast.TypeSessionDeleted, holdfast.TypeCommandAccepted,
		holdfast.TypeCommandRefused, holdfast.TypeAgentPinned, holdfast.TypeRunQueued,
		holdfast.TypeRunStarted, holdfast.TypeRunFinished, holdfast.TypeRunCanceled, holdfast.TypeRunContinued,
		holdfast.TypeModelCallStarted, holdfast.TypeModelCallFinished, holdfast.TypeModelCallVoided,
		holdfast.TypeToolCallsStarted, holdfast.TypeToolCallDecided, holdfast.TypeToolOutcomeUnknown,
		holdfast.TypeToolCallSuspended, holdfast.TypeElicitationAnswered, holdfast.TypeModelNotice,
		holdfast.TypeToolState, holdfast.TypePayloadPart, holdfast.TypeTimerSet, holdfast.TypeTimerFired,
		holdfast.TypeRunScheduled, holdfast.TypeHookStarted, holdfast.TypeHookFinished,
		holdfast.TypeAuthorizationAwaited, holdfast.TypeAuthorizationReceived, holdfast.TypeAuthorizationVouched,
		holdfast.TypeAuthorizationEnded:
		return true
	}
	return false
}
