package oauth_test

import (
	"os"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
)

func TestMain(m *testing.M) {
	if os.Getenv(suiteClient) != "" {
		os.Exit(runSuiteClient())
	}
	leaktest.Main(m)
}
