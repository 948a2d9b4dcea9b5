package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

// finding is what one check of `holdfast doctor` says.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"` // what to do about it
	code   int    // the exit code if it is not well
}

func doctorCommand() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Look for what is wrong between here and the server", Args: exactArgs(0),
		Long: `Say which server commands speak to and why, whether it is there, whether it takes the
key, and which of its agents can be used; and what to do about what is not well. The
exit code is that of the first such thing.`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		done := progress(c.ErrOrStderr(), "looking")
		list := examine(c.Context(), &t)
		done()
		if err := c.Context().Err(); err != nil {
			return err
		}
		var bad *exitError
		st := styleFor(c.OutOrStdout())
		for _, f := range list {
			if !f.OK && bad == nil {
				bad = &exitError{f.code, errors.New("not all is well")}
			}
			if asJSON {
				continue
			}
			mark := st.green("✓")
			if !f.OK {
				mark = st.red("✗")
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %-9s %s\n", mark, f.Check, clean(f.Detail))
			if f.Next != "" {
				fmt.Fprintf(c.OutOrStdout(), "  %-9s %s\n", "", st.dim(clean(f.Next)))
			}
		}
		if asJSON {
			if err := printJSON(c, map[string]any{"ok": bad == nil, "version": programVersion(), "checks": list}); err != nil {
				return err
			}
		}
		if bad != nil {
			return bad
		}
		return nil
	}
	return c
}

// examine makes the checks, up to the one that those behind it need.
func examine(ctx context.Context, t *target) []finding {
	list := []finding{settings()}
	sc, why, err := t.meant()
	if err != nil {
		return append(list, unwell("server", err))
	}
	withKey := "without a key"
	if sc.key() != "" {
		withKey = "with a key"
	}
	list = append(list, finding{Check: "server", OK: true, Detail: sc.shown() + ", " + why + ", " + withKey})
	cl, err := sc.client(client.WithTimeout(5 * time.Second))
	if err != nil {
		return append(list, unwell("server", err))
	}
	f := ready(ctx, sc)
	if list = append(list, f); !f.OK && f.code == exitAway {
		return list
	}
	agents, err := cl.GetAgents(ctx)
	if err != nil {
		return append(list, unwell("access", err))
	}
	list = append(list, finding{Check: "access", OK: true, Detail: "the server answers this user"})
	return append(list, usable(agents))
}

// settings looks at the file of the contexts.
func settings() finding {
	p, err := contextPath()
	if err != nil {
		return unwell("settings", err)
	}
	info, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return finding{Check: "settings", OK: true, Detail: "no contexts yet (" + p + ")"}
	}
	file, err := readContexts()
	if err != nil {
		return unwell("settings", err)
	}
	if mode := info.Mode().Perm(); modesCount && mode&0o077 != 0 {
		return finding{Check: "settings", Detail: fmt.Sprintf("%s may hold keys and others can read it (mode %04o)", p, mode), Next: "chmod 600 " + shellWord(p), code: exitFailed}
	}
	return finding{Check: "settings", OK: true, Detail: fmt.Sprintf("contexts in %s: %d", p, len(file.Contexts))}
}

// meant is server, with the reason why it is that one.
func (t *target) meant() (sc serverContext, why string, err error) {
	sc, named, err := t.server()
	if err != nil {
		return sc, "", err
	}
	switch {
	case t.remote != "":
		why = "by --remote"
	case t.context != "":
		why = "by --context " + t.context
	case os.Getenv(envURL) != "":
		why = "by " + envURL
	case named:
		why = "the context in use, " + sc.Name
	default:
		why = "where holdfast dev listens: no other is named"
	}
	return sc, why, nil
}

// key is the key that requests carry, from wherever it comes.
func (sc serverContext) key() string {
	if sc.Key != "" {
		return sc.Key
	}
	return userPassword(sc.URL)
}

// ready asks the server whether it has all that it needs.
func ready(ctx context.Context, sc serverContext) finding {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(sc.shown(), "/")+"/readyz", nil)
	if err != nil {
		return unwell("ready", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return unwell("ready", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&answer); err != nil || answer.Status == "" {
		return finding{Check: "ready", Detail: fmt.Sprintf("%s answers %s to /readyz, which Holdfast does not", sc.shown(), resp.Status), Next: noServerOfOurs, code: exitAway}
	}
	if answer.Status == "ok" {
		return finding{Check: "ready", OK: true, Detail: "the server has all that it needs"}
	}
	var away []string
	for name, state := range answer.Checks {
		if state != "ok" {
			away = append(away, name+" is "+state)
		}
	}
	slices.Sort(away)
	return finding{Check: "ready", Detail: "the server is there, but " + cmp.Or(strings.Join(away, ", "), answer.Status), Next: "its log says why; it mends itself when that is back", code: exitAway}
}

// usable says how many agents can be used.
func usable(agents []client.Agent) finding {
	f := finding{Check: "agents", OK: true}
	var bad []string
	for _, a := range agents {
		if a.Problem != "" {
			bad = append(bad, a.Name+": "+oneLine(a.Problem, 200))
		}
	}
	switch {
	case len(bad) > 0:
		f.OK, f.code = false, exitFailed
		f.Detail = fmt.Sprintf("%d of %d cannot be used: %s", len(bad), len(agents), strings.Join(bad, "; "))
		f.Next = "mend the file and see: holdfast agent check FILE"
	case len(agents) == 0:
		f.Detail, f.Next = "none yet", "store one: holdfast agent put FILE"
	case len(agents) == 1:
		f.Detail = "one, which can be used: " + agents[0].Name
	default:
		f.Detail = fmt.Sprintf("%d, all can be used", len(agents))
	}
	return f
}

// unwell is the finding of an error.
func unwell(check string, err error) finding {
	code, err := explain(err)
	detail, next, _ := strings.Cut(err.Error(), "\n")
	return finding{Check: check, Detail: detail, Next: next, code: code}
}
