package runtime

import (
	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// shownImages is how many images of tools a model sees at most, the newest. Older
	// ones are named by the text beside them.
	shownImages = 20
	// imageStep is how many of them go at once: what a provider has cached of a
	// conversation is good until the next step.
	imageStep = 10
	// imageTokens is what an image is taken to cost of the window, since its bytes say
	// nothing of that.
	imageTokens = 1500
)

// pictured returns the messages as a model gets them: without the images of tools if it
// takes none, else with the newest. msgs may be changed, what its elements hold may not.
func pictured(msgs []holdfast.Message, takes bool) []holdfast.Message {
	total := 0
	for i := range msgs {
		if msgs[i].Role == holdfast.RoleTool {
			total += len(msgs[i].Parts)
		}
	}
	drop := total
	if takes {
		drop = max(total-shownImages+imageStep-1, 0) / imageStep * imageStep
	}
	for i := range msgs {
		if drop <= 0 {
			break
		}
		if m := &msgs[i]; m.Role == holdfast.RoleTool && len(m.Parts) > 0 {
			n := min(drop, len(m.Parts))
			drop -= n
			m.Parts = m.Parts[n:]
		}
	}
	return msgs
}
