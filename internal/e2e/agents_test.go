package e2e_test

import (
	"fmt"
	"strings"
	"time"
)

// numbered is a text in which a missing or doubled word shows.
func numbered(words int) string {
	all := make([]string, words)
	for i := range all {
		all[i] = fmt.Sprintf("w%04d", i)
	}
	return strings.Join(all, " ")
}

// talker is an agent that says numbered words, one every delay.
func talker(words int, delay time.Duration) string {
	return fmt.Sprintf(`version: "2"
agents:
  root:
    model: script
    description: Counts words.
    instruction: Count.
models:
  script:
    provider: scripted
    model: talker
    provider_opts:
      script:
        title: Words
        turns:
          - delay: %s
            say: %q
`, delay, numbered(words))
}

// caller is an agent that talks, calls the keyed tool and then the unkeyed tool
// of the server at url, and talks again.
func caller(url string, words int, delay time.Duration) string {
	return fmt.Sprintf(`version: "2"
agents:
  root:
    model: script
    description: Has effects.
    instruction: Have effects.
    toolsets:
      - type: mcp
        remote: {url: %q, transport_type: streamable}
models:
  script:
    provider: scripted
    model: caller
    provider_opts:
      script:
        title: Effects
        turns:
          - when: { after_tool: keyed }
            delay: %[3]s
            say: %[2]q
            call: [{name: unkeyed, arguments: {say: "{{.User}}"}}]
          - when: { after_tool: unkeyed }
            delay: %[3]s
            say: %[2]q
          - delay: %[3]s
            say: %[2]q
            call: [{name: keyed, arguments: {say: "{{.User}}"}}]
`, url, numbered(words), delay)
}
