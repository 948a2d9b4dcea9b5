package conformance

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
)

var (
	everything = flag.Bool("all", false, "run all scenarios, on all deployments")
	writeTo    = flag.String("write", "", "file to write the table of results to")
)

// suiteClient is set, to where the driver listens, in the environment of this test
// binary when the suite starts it as the client under test.
const suiteClient = "HOLDFAST_TEST_SUITE_DRIVER"

func TestMain(m *testing.M) {
	if at := os.Getenv(suiteClient); at != "" {
		if err := tell(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if role := os.Getenv(programRole); role != "" {
		os.Exit(runProgram(role))
	}
	flag.Parse()
	code := m.Run()
	if *writeTo != "" {
		if err := report.write(*writeTo); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// order is what the suite tells the client that it starts.
type order struct {
	Server  string          `json:"server"`
	Context json.RawMessage `json:"context,omitempty"`
}

// tell hands the order to the driver and waits until it is carried out.
func tell(driver string) error {
	o := order{Server: os.Args[len(os.Args)-1], Context: json.RawMessage(os.Getenv("MCP_CONFORMANCE_CONTEXT"))}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	resp, err := http.Post(driver, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the product: %s", said)
	}
	return err
}
