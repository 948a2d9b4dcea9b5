// Command check tells whether docker-compose.yml and deploy/Dockerfile would
// work, on machines without Docker: the file is read by the library that Docker
// Compose itself uses, with its schema, and then held against what Compose does
// not know: which programs, settings and users there are.
//
//	go run . ../..
//
// It prints a line for each problem and exits with 1 if there are any. It is a
// module of its own, because the product does not need its dependencies.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	problems, err := check(context.Background(), root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Println("docker-compose.yml and deploy/Dockerfile: no problems")
}

// check returns what is wrong with the deployment files below root.
func check(ctx context.Context, root string) (problems []string, err error) {
	// The environment stays out: what is checked is what a stranger gets.
	opts, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithWorkingDirectory(root), cli.WithDiscardEnvFile)
	if err != nil {
		return nil, err
	}
	project, err := opts.LoadProject(ctx)
	if err != nil {
		return []string{fmt.Sprintf("docker-compose.yml: %v", err)}, nil
	}
	known, err := settings(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		return nil, err
	}
	for _, name := range project.ServiceNames() {
		for _, p := range checkService(root, project, project.Services[name], known) {
			problems = append(problems, fmt.Sprintf("docker-compose.yml: service %s: %s", name, p))
		}
	}
	dockerfile, err := os.ReadFile(filepath.Join(root, "deploy", "Dockerfile"))
	if err != nil {
		return nil, err
	}
	for _, p := range checkDockerfile(string(dockerfile)) {
		problems = append(problems, "deploy/Dockerfile: "+p)
	}
	return problems, nil
}

var setting = regexp.MustCompile("(?m)^\\| `(HOLDFAST_[A-Z_]+)` \\|")

// settings reads the names of the settings from the page that is generated from
// the program.
func settings(page string) ([]string, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range setting.FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s lists no settings", page)
	}
	return names, nil
}

func checkService(root string, project *types.Project, s types.ServiceConfig, known []string) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if s.Build == nil && (!strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest")) {
		report("image %s is not of one version", s.Image)
	}
	if s.Restart != types.RestartPolicyNo && (s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) == 0) {
		report("it runs on and has no health check")
	}
	for dependency, d := range s.DependsOn {
		on, ok := project.Services[dependency]
		switch {
		case !ok:
			report("depends on %s, which does not exist", dependency)
		case d.Condition == types.ServiceConditionHealthy && (on.HealthCheck == nil || on.HealthCheck.Disable):
			report("waits until %s is healthy, which has no health check", dependency)
		case d.Condition == types.ServiceConditionCompletedSuccessfully && on.Restart != types.RestartPolicyNo:
			report("waits until %s has ended, which is started again and again", dependency)
		case d.Condition == types.ServiceConditionStarted:
			report("waits until %s has started, which says nothing", dependency)
		}
	}
	for _, port := range s.Ports {
		if port.HostIP != "127.0.0.1" {
			report("port %s is published to other machines", port.Published)
		}
	}
	for _, v := range s.Volumes {
		if v.Type != types.VolumeTypeBind {
			continue
		}
		if _, err := os.Stat(v.Source); err != nil {
			report("folder to mount: %v", err)
		}
	}
	for name := range s.Environment {
		if strings.HasPrefix(name, "HOLDFAST_") && !slices.Contains(known, name) {
			report("there is no setting %s", name)
		}
	}
	if s.Build == nil {
		return problems
	}
	if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
		report("our own programs run with a read-only root and no capabilities")
	}
	if p := program(root, s.Command); p != "" {
		report("%s", p)
	}
	if s.HealthCheck != nil && !s.HealthCheck.Disable && (len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD") {
		report("the health check needs a shell, and the image has none")
	} else if s.HealthCheck != nil && !s.HealthCheck.Disable {
		if p := program(root, s.HealthCheck.Test[1:]); p != "" {
			report("health check: %s", p)
		}
	}
	return problems
}

// program says what is wrong with a command line in our image.
func program(root string, command []string) string {
	if len(command) == 0 || !strings.HasPrefix(command[0], "/") {
		return "the command must be a path in the image"
	}
	if _, err := os.Stat(filepath.Join(root, "cmd", command[0])); err != nil {
		return fmt.Sprintf("there is no program %s: %v", command[0], err)
	}
	return ""
}

// checkDockerfile looks at the last stage, which is the image.
func checkDockerfile(text string) (problems []string) {
	var from, user string
	for line := range strings.Lines(text) {
		switch word := strings.Fields(line); {
		case len(word) < 2:
		case strings.EqualFold(word[0], "FROM"):
			from, user = word[1], ""
		case strings.EqualFold(word[0], "USER"):
			user = word[1]
		}
	}
	if from != "scratch" {
		problems = append(problems, fmt.Sprintf("the image is built on %q; the programs are static and need nothing", from))
	}
	if id, _, _ := strings.Cut(user, ":"); id == "" || id == "0" || id == "root" {
		problems = append(problems, "the image runs as root")
	}
	return problems
}
