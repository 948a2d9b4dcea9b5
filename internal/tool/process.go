package tool

import "os"

// Environment is what a command sees that a tool starts: what its configuration
// says, and of the worker's own what hardly any program can do without. The
// worker's whole environment, with its secrets, is handed on only if inherit is
// set: for development on one's own machine.
func Environment(explicit map[string]string, inherit bool) []string {
	env := []string{} // never nil: that would mean all to os/exec
	if inherit {
		env = append(env, os.Environ()...)
	} else {
		for _, name := range safeEnvironment {
			if v, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+v)
			}
		}
	}
	for k, v := range explicit {
		env = append(env, k+"="+v) // of two with one name, os/exec takes the last
	}
	return env
}
