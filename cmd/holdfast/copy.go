package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/client"
)

func exportCommand() *cobra.Command {
	var t target
	var file string
	c := &cobra.Command{
		Use: "export SESSION", Short: "Write a session to a file, event for event", Args: exactArgs(1), ValidArgsFunction: t.sessionIDs,
		Long: "Write all events of a session as JSON lines to standard output or, with -o, to a\nfile, which is whole or not there at all. holdfast import reads it, here or on\nanother server.",
	}
	t.flags(c)
	c.Flags().StringVarP(&file, "output", "o", "", "file to write (default: standard output)")
	_ = c.MarkFlagFilename("output")
	c.RunE = t.onSession(func(c *cobra.Command, cl *client.Client, id string, _ []string) error {
		if file == "" {
			_, err := cl.Export(c.Context(), id, jsonTo(c.OutOrStdout()))
			return err
		}
		var far counter
		done := progressOf(c.ErrOrStderr(), "exporting", far.far)
		n, err := intoFile(file, func(w io.Writer) (int64, error) { return cl.Export(c.Context(), id, io.MultiWriter(w, &far)) })
		done()
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s: %d bytes\n", file, n)
		return nil
	})
	return c
}

// intoFile has a file written and puts it into its place when it is whole.
func intoFile(name string, write func(io.Writer) (int64, error)) (int64, error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".holdfast-export-")
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name()) // fails when it has been renamed
	n, err := write(tmp)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return n, err
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return n, fmt.Errorf("write %s: %w", name, err)
	}
	return n, nil
}

func importCommand() *cobra.Command {
	var t target
	var id string
	var asJSON bool
	c := &cobra.Command{
		Use: "import FILE", Short: "Make a session of an exported file; - is standard input", Args: exactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		Long: "Make a session of a file that holdfast export wrote and print its id. The same file\nagain changes nothing, and finishes an import that broke off.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&id, "id", "", "id of the new session (default: the one in the file)")
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		var far counter
		in := c.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("read the session: %w", err)
			}
			defer f.Close()
			in = f
			if info, err := f.Stat(); err == nil {
				far.whole = info.Size()
			}
		}
		done := progressOf(c.ErrOrStderr(), "importing", far.far)
		made, err := cl.Import(c.Context(), id, io.TeeReader(in, &far))
		done()
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, made)
		}
		fmt.Fprintln(c.OutOrStdout(), made.ID)
		return nil
	})
	return c
}
