package app

import _ "embed"

// demoFile is the agent that is always there: scripted, so that it needs no key
// and nobody takes it for a real model.
//
//go:embed demo.yaml
var demoFile []byte
