// Package scripted is a model that answers from a script instead of thinking:
// for demonstrations, for users' own tests and for benchmarks.
//
// It promises: the same script and the same conversation give the same chunks,
// tool-call ids included; no network, no clock but the script's own delays
// (timers of package time, so that testing/synctest drives them); without
// delays no timer is started and no word costs an allocation; a script with an
// unknown key is refused by the key's name and line. The model's name always
// begins with "scripted/", so that nobody takes an answer for a real model's.
//
// A model is configured in an agent file:
//
//	models:
//	  demo:
//	    provider: scripted
//	    model: demo
//	    provider_opts:
//	      script: demo.script.yaml   # beside the agent file, or the script itself
//
// and a script is a list of turns of which the first that fits the
// conversation answers:
//
//	title: "About: {{.User}}"
//	turns:
//	  - when: { contains: hello }
//	    delay: 20ms
//	    reason: Somebody greets me.
//	    say: Hello! You said “{{.User}}”.
//	  - when: { matches: 'weather in (?P<city>\w+)' }
//	    call:
//	      - name: get_weather
//	        arguments: { city: "{{.Match.city}}" }
//	  - when: { after_tool: get_weather }
//	    say: "The tool says: {{.Tool}}"
//
// docs/scripted-model.md describes every key.
//
// Of [model.Config] it heeds MaxTokens (one word counts as one token),
// TrackUsage and IdleTimeout; sampling parameters, APIKey, MaxRetries and
// ParallelToolCalls mean nothing to it, and BaseURL is refused.
package scripted
