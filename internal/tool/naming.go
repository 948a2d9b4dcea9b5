package tool

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// MaxName is the longest name of a function that all model providers take, in
// bytes.
const MaxName = 64

// ModelName returns name if models take it as the name of a function: letters,
// digits, "_" and "-", at most [MaxName] of them. Otherwise what they do not
// take becomes "_", and a hash of the whole name keeps the result apart from
// those in used, and the same in every process.
func ModelName(name string, used map[string]bool) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
	if safe != "" && len(safe) <= MaxName && !used[safe] {
		return safe
	}
	sum := sha256.Sum256([]byte(name))
	suffix := "_" + hex.EncodeToString(sum[:4])
	return safe[:min(len(safe), MaxName-len(suffix))] + suffix
}
