package pgstore_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/internal/oauth/vault/vaulttest"
)

func TestVault(t *testing.T) {
	vaulttest.Run(t, func(t *testing.T) vaulttest.Stores { return open(t, database(t)) })
}
