package oauth_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(suiteClient) != "" {
		os.Exit(runSuiteClient())
	}
	goleak.VerifyTestMain(m)
}
