package bedrock

import (
	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// api is how a message tells that what it remembers is of this package.
const api = "converse"

// kept is what a message remembers of its blocks.
func (m *Model) kept(msg *holdfast.Message) []model.Block {
	return model.KeptBlocks(msg, api, m.cfg.Provider, m.name)
}
