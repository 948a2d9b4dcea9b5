package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// mostPrompt is how long a prompt that is read from files may be, in bytes: what is
// beyond it no model reads.
const mostPrompt = 1 << 20

// promptOf is the prompt of a run: what was given, - for all of standard input, with
// the text of files behind it. "" is none: then each line of standard input is one.
func promptOf(c *cobra.Command, given, files []string) (string, error) {
	if len(given) == 0 && len(files) == 0 {
		return "", nil
	}
	var parts []string
	inputs := 0
	add := func(name string) error {
		if name == "-" {
			if inputs++; inputs > 1 {
				return errors.New("standard input can be read once only")
			}
		}
		data, err := readAll(c, name)
		if err != nil {
			return err
		}
		if !utf8.Valid(data) {
			return fmt.Errorf("%s is no text in UTF-8: a prompt is text; let a tool of the agent read the file", fileName(name))
		}
		if text := strings.TrimRight(string(data), "\n"); text != "" {
			parts = append(parts, text)
		}
		return nil
	}
	var err error
	switch {
	case len(given) == 0:
	case given[0] == "-":
		err = add("-")
	case strings.TrimSpace(given[0]) != "":
		parts = append(parts, given[0])
	}
	for _, name := range files {
		if err == nil {
			err = add(name)
		}
	}
	prompt := strings.Join(parts, "\n\n")
	switch {
	case err != nil:
	case strings.TrimSpace(prompt) == "":
		err = errors.New("the prompt is empty")
	case len(prompt) > mostPrompt:
		err = fmt.Errorf("the prompt has %s, more than the %s that it may have: let a tool of the agent read the file", size(int64(len(prompt))), size(mostPrompt))
	}
	if err != nil {
		return "", &exitError{exitUsage, err}
	}
	return prompt, nil
}

// fileName is the name of a file for people.
func fileName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}
