// Package recorder brings the log from the bus to the store.
//
// It promises:
//
//   - exactly once in effect: the frames of a batch and the cursor that says so
//     are one transaction of the store; a batch whose outcome is unknown is
//     settled by reading the cursor, and one that comes again changes nothing;
//   - order: the events of a session reach the store in order, without a gap;
//   - nothing is passed over: while the store is away the same batch is tried
//     again and frames stay on the bus, which in the end makes writers wait. A
//     frame that no program can read, and frames that do not follow what the
//     store has although the bus was searched, are kept aside by the bus, and
//     the log says so at level error. A frame that only a newer program can read
//     is waited for: it stops the stream until a newer recorder takes over;
//   - several recorders may run. Per stream the store's cursor decides which of
//     them records; the others look once a second and take over when frames wait
//     and the cursor stands still;
//   - a panic ends neither the process nor its other streams: it is logged with
//     its stack, and the stream begins anew from the cursor after a pause.
//
// Frames are removed from the bus when they are recorded and older than
// [Config.Retention], earlier if the stream is getting full.
package recorder
