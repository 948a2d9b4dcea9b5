package agent

import (
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// Options says what a deployment offers. The zero value is a program that runs
// on its user's own machine, with no catalogue of MCP servers.
type Options struct {
	// Hosted refuses what touches the host: agents of several tenants share it and
	// no sandbox is configured.
	Hosted bool
	// Sandbox says that there is a sandbox for what touches the host, so that Hosted
	// refuses nothing of it.
	Sandbox bool
	// MCPCatalog accepts toolsets with ref: docker:NAME. Default false: no
	// catalogue is configured and they are refused.
	MCPCatalog bool
	// NotOffered refuses further keys, by their id in [Keys] (agent.handoffs,
	// toolset:fetch). The value says what to do instead and may be empty.
	NotOffered map[string]string
}

// Parse reads an agent file. name is what messages call it, such as pirate.yaml.
// The error, if any, is a [*FileError] with all problems of the file.
//
// A file that names no version is read as the newest and, if it does not fit
// that and fits version 0, as version 0; [Team.Version] says which was taken.
func Parse(name string, source []byte, opt Options) (*Team, error) {
	tree, problem := readTree(source)
	if problem != nil {
		return nil, &FileError{File: name, Problems: []Problem{*problem}}
	}
	team, problems, given := parseAs(tree, opt, -1)
	if len(problems) > 0 && !given {
		// Upgrading changes the tree in place, so it is read once more. It was read
		// without a problem a moment ago.
		tree, _ = readTree(source)
		if old, oldProblems, _ := parseAs(tree, opt, 0); len(oldProblems) < len(problems) {
			team, problems = old, oldProblems
		}
	}
	if len(problems) > 0 {
		sortProblems(problems)
		return nil, &FileError{File: name, Problems: problems}
	}
	team.Name = name
	return team, nil
}

// parseAs reads a tree as a file of a version, or of the one that it names if
// version is negative.
func parseAs(tree *yaml.Node, opt Options, version int) (team *Team, problems []Problem, given bool) {
	d := &decoder{opt: opt, at: map[string]mark{}, models: map[string]*[]*ModelSettings{}}
	if tree.Kind != yaml.MappingNode {
		d.problem(tree, "", "an agent file holds keys and values (agents: …), not %s", describe(tree))
		return nil, d.problems, true
	}
	taken, given := givenVersion(d, tree)
	if version >= 0 {
		taken = version
	}
	upgrade(d, tree, taken)
	team = &Team{}
	d.value(tree, reflect.ValueOf(team).Elem(), "", field{})
	team.Version, team.VersionGiven = Version(strconv.Itoa(taken)), given
	d.check(team)
	return team, d.problems, given
}
