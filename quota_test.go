package holdfast_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

func TestParseQuota(t *testing.T) {
	const all = "requests_per_second=2.5,burst=10,runs=0,sessions=100,storage_bytes=8388608,tokens_per_day=1000,tokens_per_month=20000,cost_per_day=1.5,cost_per_month=30"
	q, err := holdfast.ParseQuota(strings.Replace(all, "8388608", "8MiB", 1))
	if err != nil || q.String() != all {
		t.Fatalf("%s, %v", q, err)
	}
	doc, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	var back holdfast.Quota
	if err := json.Unmarshal(doc, &back); err != nil || back.String() != all {
		t.Errorf("%s: %s, %v", doc, back, err)
	}
	if none, err := holdfast.ParseQuota(" "); err != nil || !none.IsZero() || q.IsZero() {
		t.Errorf("no limits: %v, %v", none, err)
	}
	for _, bad := range []string{
		"runs=-1", "runs", "runs=", "runs=1.5", "runs=1,runs=2", "walks=1", "requests_per_second=0", "requests_per_second=NaN", "requests_per_second=Inf",
		"burst=5", "burst=0,requests_per_second=1", "cost_per_day=-0.01", "storage_bytes=9223372036854775807", "storage_bytes=8589934592TiB", "tokens_per_day=-1GiB",
	} {
		if q, err := holdfast.ParseQuota(bad); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%s: %s, %v", bad, q, err)
		}
	}
	nan := math.NaN()
	if err := (holdfast.Quota{CostPerDay: &nan}).Validate(); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Errorf("NaN: %v", err)
	}
}
