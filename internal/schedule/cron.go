package schedule

import (
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	holdfast "github.com/holdfast-run/holdfast"
)

// cronParser reads the five fields of crontab(5): minute, hour, day of the month,
// month, day of the week, with lists, ranges, steps and names.
var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// clock gives the times of a cron expression in a time zone. What happens when
// the clocks of the zone change is what crontab(5) of cronie says:
//
//   - with every hour (the field hour is *, or says the same) the expression counts
//     time as it passes: nothing falls out, and an hour that comes twice has its
//     times twice;
//   - otherwise it means the clock on the wall, once a day: a time that the clocks
//     jump over is the moment of the jump, and of a time that comes twice the first
//     one counts.
type clock struct {
	spec *cron.SpecSchedule // in UTC: what the wall says, taken for UTC
	zone *time.Location
	// always says that the expression has every hour.
	always bool
}

// everyHour are the bits of a field hour that has all of them.
const everyHour = 1<<24 - 1

// parseCron reads an expression. CodeInvalid.
func parseCron(expression string, zone *time.Location) (*clock, error) {
	// The parser would take a time zone in front, and words such as @daily.
	if len(strings.Fields(expression)) != 5 || strings.Contains(expression, "=") {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "cron %q: want five fields: minute, hour, day of the month, month, day of the week", expression)
	}
	parsed, err := cronParser.Parse(expression)
	if err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "cron: "+err.Error())
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "cron %q: want five fields", expression)
	}
	spec.Location = time.UTC
	return &clock{spec: spec, zone: zone, always: spec.Hour&everyHour == everyHour}, nil
}

// next returns the first time after t, zero if there is none in the next five
// years (the 30th of February).
func (c *clock) next(t time.Time) time.Time {
	t = t.In(c.zone)
	if c.always {
		in := *c.spec
		in.Location = c.zone
		return in.Next(t).UTC()
	}
	wall := asUTC(t)
	for {
		if wall = c.spec.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		// Of two passes the first has been, or two times of the wall are one moment.
		if at := c.moment(wall); at.After(t) {
			return at.UTC()
		}
	}
}

// asUTC is what the clock on the wall says, taken for UTC.
func asUTC(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment returns when the clock on the wall first says wall, or the moment at
// which it jumps over that.
func (c *clock) moment(wall time.Time) time.Time {
	before := wall.Add(-offset(wall.Add(-24 * time.Hour).In(c.zone))).In(c.zone)
	if asUTC(before).Equal(wall) {
		return before
	}
	after := wall.Add(-offset(wall.Add(24 * time.Hour).In(c.zone))).In(c.zone)
	if asUTC(after).Equal(wall) {
		return after
	}
	// With the offset from before the jump it is as long after the jump.
	if jump, _ := before.ZoneBounds(); !jump.IsZero() {
		return jump
	}
	return before
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
