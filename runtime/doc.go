// Package runtime runs teams of agents in the process of the program that imports
// it, over the same durable loop as the servers, and gives out the words that
// belong to it: events, sessions, tools.
//
//	team, err := runtime.LoadTeam("agents/assistant.yaml")
//	rt, err := runtime.New(team)
//	defer rt.Close()
//	session := holdfast.NewSession("hello")
//	for e := range rt.RunStream(ctx, session) { … }
//
// What it promises:
//
//   - the loop is the one of a deployment: an event is stored before it is given
//     out, an intent before its effect. With [WithDataFolder] sessions survive the
//     process; without, they are in a folder that Close removes;
//   - no port is opened: the client in here speaks to the API over pipes;
//   - a runtime runs one session at a time. [Embedded.Client] has the whole API for
//     programs that want more;
//   - Close ends all that New began, and returns when nothing of it is left.
//
// [NewRemoteRuntime] gives the same interface with the agents on a server. Who
// needs only that imports package client, which is much smaller.
package runtime
