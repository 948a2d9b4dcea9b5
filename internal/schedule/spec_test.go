package schedule_test

import (
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

func spec(change func(s *schedule.Spec)) schedule.Spec {
	s := schedule.Spec{
		StartsAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Agent: "demo.yaml", Overlap: schedule.OverlapSkip, Missed: schedule.MissedSkip,
		Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "hello"}},
	}
	change(&s)
	return s
}

// TestTimes: what an expression means in a time zone, above all when its clocks
// change. In Berlin they jump from 2:00 to 3:00 on 29 March 2026, and back from
// 3:00 to 2:00 on 25 October; on Lord Howe Island by half an hour.
func TestTimes(t *testing.T) {
	for _, c := range []struct {
		name, cron, zone, after string
		want                    []string
	}{
		{"every morning of a week", "30 7 * * 1-5", "Europe/Berlin", "2026-11-20T08:00:00+01:00", []string{"2026-11-23T07:30:00+01:00", "2026-11-24T07:30:00+01:00"}},
		{"the clock is an hour on in summer", "0 9 * * *", "Europe/Berlin", "2026-03-28T10:00:00+01:00", []string{"2026-03-29T09:00:00+02:00"}},
		{"a time that is jumped over is the jump", "30 2 * * *", "Europe/Berlin", "2026-03-28T03:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"two such times are one moment", "0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"a time that comes twice counts once", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"from between the two", "30,45 2 * * *", "Europe/Berlin", "2026-10-25T02:40:00+02:00", []string{"2026-10-25T02:45:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"every hour passes through the jump", "15 * * * *", "Europe/Berlin", "2026-03-29T00:30:00+01:00", []string{"2026-03-29T01:15:00+01:00", "2026-03-29T03:15:00+02:00"}},
		{"every hour has the hour twice", "15 * * * *", "Europe/Berlin", "2026-10-25T01:30:00+02:00", []string{"2026-10-25T02:15:00+02:00", "2026-10-25T02:15:00+01:00", "2026-10-25T03:15:00+01:00"}},
		{"half an hour is jumped over", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"half an hour comes twice", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"a day that the zone left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-29T13:00:00-10:00", []string{"2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"}},
		{"leap years", "0 0 29 2 *", "", "2026-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{"the day of the week or of the month", "0 0 13 * 5", "", "2026-11-07T00:00:00Z", []string{"2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"}},
	} {
		s := spec(func(s *schedule.Spec) { s.Cron, s.Timezone, s.StartsAt = c.cron, c.zone, time.Time{} })
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			want, err := time.Parse(time.RFC3339, w)
			if err != nil {
				t.Fatal(err)
			}
			if at = s.Next(at); !at.Equal(want) {
				t.Errorf("%s: time %d is %v, want %v", c.name, i, at.In(want.Location()), w)
			}
		}
	}
}

// TestInterval: an interval counts from its start, whatever the clock does.
func TestInterval(t *testing.T) {
	s := spec(func(s *schedule.Spec) { s.Every = "90m" })
	if got := s.Next(s.StartsAt.Add(-time.Hour)); !got.Equal(s.StartsAt) {
		t.Errorf("before the start: %v", got)
	}
	if got := s.Next(s.StartsAt); !got.Equal(s.StartsAt.Add(90 * time.Minute)) {
		t.Errorf("at the start: %v", got)
	}
	if got := s.Next(s.StartsAt.Add(1000 * time.Hour)); !got.Equal(s.StartsAt.Add(667 * 90 * time.Minute)) {
		t.Errorf("much later: %v", got)
	}
}

// TestCheck: what cannot be followed is refused by name.
func TestCheck(t *testing.T) {
	ok := spec(func(s *schedule.Spec) { s.Cron, s.Timezone = "*/5 8-18 * jan-mar MON", "America/New_York" })
	if err := ok.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(s *schedule.Spec){
		"cron and every":   func(s *schedule.Spec) {},
		"give one":         func(s *schedule.Spec) { s.Cron, s.Every = "* * * * *", "1h" },
		"five fields":      func(s *schedule.Spec) { s.Cron = "0 0 9 * * *" },
		"want five":        func(s *schedule.Spec) { s.Cron = "@daily" },
		"fields: minute":   func(s *schedule.Spec) { s.Cron = "TZ=UTC 9 * * *" },
		"above maximum":    func(s *schedule.Spec) { s.Cron = "61 * * * *" },
		"no such day":      func(s *schedule.Spec) { s.Cron = "0 0 30 2 *" },
		"timezone \"Mars":  func(s *schedule.Spec) { s.Cron, s.Timezone = "0 9 * * *", "Mars/Olympus" },
		"timezone \"Local": func(s *schedule.Spec) { s.Cron, s.Timezone = "0 9 * * *", "Local" },
		"timezone: an":     func(s *schedule.Spec) { s.Every, s.Timezone = "1h", "Europe/Berlin" },
		"every \"1ms":      func(s *schedule.Spec) { s.Every = "1ms" },
		"every \"hourly":   func(s *schedule.Spec) { s.Every = "hourly" },
		"overlap":          func(s *schedule.Spec) { s.Every, s.Overlap = "1h", "queue" },
		"missed":           func(s *schedule.Spec) { s.Every, s.Missed = "1h", "all" },
		"messages":         func(s *schedule.Spec) { s.Every, s.Messages = "1h", nil },
		"new sessions":     func(s *schedule.Spec) { s.Every, s.Session, s.Title = "1h", "s", "t" },
	} {
		s := spec(change)
		if err := s.Check(); holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.PublicMessage(err), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
