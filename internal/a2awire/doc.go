// Package a2awire has the JSON forms of the A2A protocol 1.0, as what they mean in
// the types of the protocol's SDK, which are those of 0.3.
//
// Both versions say the same things of the same tasks and messages; they differ in
// how that is written (specification 1.0, appendix A and specification/a2a.proto):
// names of states and roles, parts without kind, a wrapper around the events of a
// stream, methods, codes and details of errors. All of that is here, for those who
// serve the protocol and for those who call, so that neither knows more than one
// set of types.
//
// What it promises: an encoded value is what ProtoJSON makes of it (members in
// camelCase, enumerations by name, times in UTC with milliseconds); decoding passes
// over members that are not known, refuses what has not the type of the protocol,
// and says by its path where that is. Nothing here reaches the network.
package a2awire

import "github.com/a2aproject/a2a-go/a2a"

// Version is the version of the protocol, in its form for negotiation: major and
// minor alone (section 3.6).
const Version = "1.0"

// VersionHeader names the header, or the parameter of a query, that says which
// version a request is of (section 3.2.6). One that says nothing is of 0.3 (3.6.2).
const VersionHeader = "A2A-Version"

// MediaType is that of bodies of the binding HTTP+JSON (section 11.1).
const MediaType = "application/a2a+json"

// Methods of the JSON-RPC binding (section 9.4).
const (
	MethodSend         = "SendMessage"
	MethodStream       = "SendStreamingMessage"
	MethodGet          = "GetTask"
	MethodList         = "ListTasks"
	MethodCancel       = "CancelTask"
	MethodSubscribe    = "SubscribeToTask"
	MethodPushCreate   = "CreateTaskPushNotificationConfig"
	MethodPushGet      = "GetTaskPushNotificationConfig"
	MethodPushList     = "ListTaskPushNotificationConfigs"
	MethodPushDelete   = "DeleteTaskPushNotificationConfig"
	MethodExtendedCard = "GetExtendedAgentCard"
)

// states are the names of task states in 1.0.
var states = map[a2a.TaskState]string{
	a2a.TaskStateSubmitted: "TASK_STATE_SUBMITTED", a2a.TaskStateWorking: "TASK_STATE_WORKING",
	a2a.TaskStateCompleted: "TASK_STATE_COMPLETED", a2a.TaskStateFailed: "TASK_STATE_FAILED",
	a2a.TaskStateCanceled: "TASK_STATE_CANCELED", a2a.TaskStateInputRequired: "TASK_STATE_INPUT_REQUIRED",
	a2a.TaskStateRejected: "TASK_STATE_REJECTED", a2a.TaskStateAuthRequired: "TASK_STATE_AUTH_REQUIRED",
}

var roles = map[a2a.MessageRole]string{a2a.MessageRoleUser: "ROLE_USER", a2a.MessageRoleAgent: "ROLE_AGENT"}

// StateOf returns the state of a name, false if there is none.
func StateOf(name string) (a2a.TaskState, bool) {
	for state, n := range states {
		if n == name {
			return state, true
		}
	}
	return "", false
}

func roleOf(name string) (a2a.MessageRole, bool) {
	for role, n := range roles {
		if n == name {
			return role, true
		}
	}
	return "", false
}
