package main

import (
	"fmt"
	"testing"
)

func TestCommandsOf(t *testing.T) {
	got, err := commandsOf([]byte(`{"agents":{
		"root":{"commands":{"short":"In one sentence.","plan":{"agent":"planner"},"child":{"description":"For a child","instruction":"x"}}},
		"planner":{"commands":{"short":"Plan shortly."}}}}`))
	if want := "[{/child For a child} {/plan go on with planner} {/short In one sentence.}]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, want %s", got, err, want)
	}
	if _, err := commandsOf([]byte(`{"agents":{"root":{"commands":{"x":[]}}}}`)); err == nil {
		t.Error("a command that is none was read")
	}
}
