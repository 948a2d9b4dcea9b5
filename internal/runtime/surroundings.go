package runtime

import (
	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// Surroundings is what [Agents] implement that know the place where the tools of a
// session run. It returns the parts of an agent's system prompt that tell of it, for
// add_environment_info and add_prompt_files. Those of add_environment_info must
// be the same as long as a session lives.
type Surroundings interface {
	Surroundings(s holdfast.SessionRef, a *agent.Agent) []string
}

// HostedSurroundings is what agents are told that ask for add_environment_info
// and whose tools run on servers.
const HostedSurroundings = "Environment: a hosted session. Tools run on a server, not on the user's computer; there is no working directory unless a tool names one."

func (d *drive) surroundings(a *agent.Agent) []string {
	if s, ok := d.e.cfg.Agents.(Surroundings); ok {
		return s.Surroundings(d.s.Ref, a)
	}
	if a.AddEnvironmentInfo {
		return []string{HostedSurroundings}
	}
	return nil
}
