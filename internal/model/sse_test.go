package model

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

type event struct{ name, data string }

func readEvents(src io.Reader, limit int) (events []event, truncated bool, err error) {
	r := NewEventReader(src, limit)
	for {
		name, data, err := r.Next()
		if err != nil {
			return events, r.Truncated(), err
		}
		events = append(events, event{string(name), string(data)})
	}
}

func TestEventReader(t *testing.T) {
	for _, tc := range []struct {
		name, in  string
		want      []event
		truncated bool
	}{
		{"empty", "", nil, false},
		{"one", "data: a\n\n", []event{{"", "a"}}, false},
		{"without space, with two", "data:a\n\ndata:  b\n\n", []event{{"", "a"}, {"", " b"}}, false},
		{"crlf", "event: e\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []event{{"e", "a"}, {"", "b"}}, false},
		{"lines are joined", "data: a\ndata\ndata: b\n\n", []event{{"", "a\n\nb"}}, false},
		{"comments and unknown fields", ": hi\n\nretry: 3\nid: 7\ndata: a\nwhat\n\n", []event{{"", "a"}}, false},
		{"name without data is dropped", "event: x\n\ndata: a\n\n", []event{{"", "a"}}, false},
		{"empty data", "data:\n\n", []event{{"", ""}}, false},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []event{{"", "a"}}, false},
		{"no blank line at the end", "data: a\n", []event{{"", "a"}}, false},
		{"no end of line at the end", "data: a\n\ndata: b", []event{{"", "a"}, {"", "b"}}, true},
		{"half a field", "data: a\n\nda", []event{{"", "a"}}, true},
		{"long", "data: " + strings.Repeat("x", 20_000) + "\n\ndata: y\n\n", []event{{"", strings.Repeat("x", 20_000)}, {"", "y"}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, src := range map[string]io.Reader{
				"whole": strings.NewReader(tc.in), "bytes": iotest.OneByteReader(strings.NewReader(tc.in)),
				"data with error": iotest.DataErrReader(strings.NewReader(tc.in)),
			} {
				got, truncated, err := readEvents(src, MaxEvent)
				if !reflect.DeepEqual(got, tc.want) || truncated != tc.truncated || err != io.EOF {
					t.Errorf("%s: %.200q, truncated %v, %v", name, got, truncated, err)
				}
			}
		})
	}
}

func TestEventReaderLimits(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, in := range []string{"data: " + long, "data: " + long + "\n\n", strings.Repeat("data: xxxxxxxxx\n", 20), long} {
		if _, _, err := readEvents(strings.NewReader(in), 64); !errors.Is(err, ErrEventTooLong) {
			t.Errorf("%.20q: %v", in, err)
		}
	}
	if got, _, err := readEvents(strings.NewReader(strings.Repeat("data: xxxxxxxxx\n\n", 20)), 64); len(got) != 20 || err != io.EOF {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestEventReaderErrors(t *testing.T) {
	broken := errors.New("connection reset")
	got, truncated, err := readEvents(io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(broken)), MaxEvent)
	if !reflect.DeepEqual(got, []event{{"", "a"}}) || truncated || !errors.Is(err, broken) {
		t.Errorf("%q %v %v", got, truncated, err)
	}
	if _, _, err := readEvents(idleReader{}, MaxEvent); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }
