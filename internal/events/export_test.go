package events

import "time"

// SetClock makes the writer stamp its events by another clock. Call it before
// the first Add.
func (w *Writer) SetClock(now func() time.Time) { w.now = now }
