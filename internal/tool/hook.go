package tool

// HookOutput is what the command of a hook left behind.
type HookOutput struct {
	// ExitCode is 0 for success and 2 for a hook that blocks.
	ExitCode int
	// Stdout and Stderr are what it wrote, each cut at 1 MiB.
	Stdout, Stderr string
}
