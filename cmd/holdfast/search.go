package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func searchCommand() *cobra.Command {
	var t target
	var asJSON bool
	var most int
	var q client.SearchQuery
	var role string
	c := &cobra.Command{
		Use: "search WORDS…", Short: "Find what was said, in all sessions or in one", Args: rangeArgs(1, 1000),
		Example: `  holdfast search hotel rome
  holdfast search '"hotel in rome" -hostel' --sessions
  holdfast sessions show SESSION --at SEQ`,
		Long: `Find messages of users and answers of agents by their words, newest first. All words
must be in one message; "words in quotes" follow each other, -word must not be there
(behind --, or in quotes of the shell), "or" stands between alternatives, word* is the
beginning of a word. sessions ls --search looks in titles, ids and metadata.`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVarP(&most, "number", "n", 20, "the most hits to show, 0 for all")
	c.Flags().StringVar(&q.Session, "session", "", "only this session: an id, or @last")
	c.Flags().StringVar(&role, "role", "", "user or assistant: only what users said, or what agents answered")
	c.Flags().BoolVar(&q.BySession, "sessions", false, "each session once, with its newest hit")
	_ = c.RegisterFlagCompletionFunc("session", t.sessionIDs)
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"user", "assistant"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		q.Text, q.Role, q.Page = strings.Join(args, " "), holdfast.Role(role), 100
		if most > 0 {
			q.Page = min(most, q.Page)
		}
		if q.Session != "" {
			var err error
			if q.Session, err = session(c.Context(), cl, q.Session); err != nil {
				return err
			}
		}
		hits := []client.SearchHit{}
		for h, err := range cl.Search(c.Context(), q) {
			if err != nil {
				return err
			}
			if hits = append(hits, h); len(hits) == most {
				break
			}
		}
		if asJSON {
			return printJSON(c, hits)
		}
		if len(hits) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "nothing like that was said; sessions ls --search looks in titles, ids and metadata")
			return nil
		}
		showHits(c, hits)
		return nil
	})
	return c
}

func showHits(c *cobra.Command, hits []client.SearchHit) {
	w := c.OutOrStdout()
	st := styleFor(w)
	for i, h := range hits {
		if i > 0 {
			fmt.Fprintln(w)
		}
		who := string(h.Role)
		if h.AgentName != "" {
			who = h.AgentName
		}
		fmt.Fprintf(w, "%s %s %s\n", st.cyan(clean(h.Session)), st.dim(fmt.Sprintf("#%d %s", h.Seq, h.CreatedAt.Local().Format(time.DateTime))), oneLine(h.Title, 60))
		fmt.Fprintf(w, "  %s ", st.dim(clean(who)+":"))
		for _, p := range h.Snippet {
			text := strings.ReplaceAll(clean(p.Text), "\n", " ")
			if p.Hit {
				text = st.bold(st.yellow(text))
			}
			fmt.Fprint(w, text)
		}
		fmt.Fprintln(w)
	}
	if hits[0].Indexing {
		fmt.Fprintln(c.ErrOrStderr(), "older sessions are still being indexed: there may be more")
	}
}
