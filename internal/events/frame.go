package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	holdfast "github.com/holdfast-run/holdfast"
)

// The binary form of a frame, version 1. Numbers are varints
// (encoding/binary); strings and payloads are a length and bytes.
//
//	'H' version flags                       flags bit 0: what follows is zstd
//	prev first-seq epoch base-time count    base-time in µs since 1970
//	per event: bits [epoch+] time± [run] [agent] [type] [v] payload
//
// A bit per member says whether it is the same as in the event before, which
// makes a token delta cost about six bytes beside its payload.
const (
	frameMagic   = 'H'
	frameVersion = 1

	flagCompressed = 1 << 0

	bitEpoch = 1 << 0 // the epoch rose: by how much follows
	bitRun   = 1 << 1 // another run: follows
	bitAgent = 1 << 2 // another agent: follows
	bitType  = 1 << 3 // another type: follows
	bitV     = 1 << 4 // version other than 1: follows
	bitsAll  = bitEpoch | bitRun | bitAgent | bitType | bitV
)

// MaxFrame is the most bytes of a frame on the bus, well under the 1 MiB that a
// NATS server accepts by default. MaxPayload is the most bytes of one event's
// payload; what is larger goes into payload_part events first.
const (
	MaxFrame   = 640 << 10
	MaxPayload = 512 << 10
	// maxPlain bounds what a compressed frame may unpack to.
	maxPlain = 64 << 20
)

// Errors of [DecodeFrame].
var (
	// ErrCorrupt is wrapped by all of them.
	ErrCorrupt = errors.New("corrupt frame")
	// ErrNewer says that a newer version of this program can read the frame.
	ErrNewer = errors.New("the frame is newer than this program")
)

// Frame is one or more consecutive events of one session.
type Frame struct {
	// Prev is the position on the bus of the frame before it in the session's log,
	// 0 if the bus did not have that one any more or there was none (or, in the
	// archive, where it does not matter). Whoever names a frame here has made sure
	// that it is in the log: see [ReadEnd].
	Prev   uint64
	Events []Envelope
}

// First and Last return the sequence numbers that the frame covers.
func (f *Frame) First() uint64 { return f.Events[0].Seq }

// Last returns the sequence number of the last event.
func (f *Frame) Last() uint64 { return f.Events[len(f.Events)-1].Seq }

// Epoch returns the epoch of the last event.
func (f *Frame) Epoch() uint64 { return f.Events[len(f.Events)-1].Epoch }

var (
	encoderOnce sync.Once
	encoder     *zstd.Encoder
	decoderOnce sync.Once
	decoder     *zstd.Decoder
)

func zstdEncoder() *zstd.Encoder {
	encoderOnce.Do(func() {
		// One goroutine-free encoder; small windows keep the embedded mode small.
		encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(true))
	})
	return encoder
}

func zstdDecoder() *zstd.Decoder {
	decoderOnce.Do(func() {
		decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderLowmem(true))
	})
	return decoder
}

// AppendFrame appends the binary form of consecutive events to dst. It panics
// if there are none or their numbers are not consecutive: that is a bug of the
// caller that must not reach the log.
func AppendFrame(dst []byte, prev uint64, evs []Envelope) []byte {
	dst = append(dst, frameMagic, frameVersion, 0)
	return appendBody(dst, prev, evs)
}

// AppendCompressed is [AppendFrame] for the archive: the body is compressed
// where that makes it smaller.
func AppendCompressed(dst []byte, evs []Envelope) []byte {
	start := len(dst)
	dst = AppendFrame(dst, 0, evs)
	body := dst[start+3:]
	if len(body) < 128 {
		return dst
	}
	packed := zstdEncoder().EncodeAll(body, make([]byte, 0, len(body)/2))
	if len(packed) >= len(body) {
		return dst
	}
	dst = append(dst[:start+3], packed...)
	dst[start+2] |= flagCompressed
	return dst
}

// Pack compresses what is kept beside the log, such as a snapshot.
func Pack(data []byte) []byte {
	return zstdEncoder().EncodeAll(data, make([]byte, 0, len(data)/2))
}

// Unpack returns what [Pack] was given, or an error that wraps [ErrCorrupt].
func Unpack(packed []byte) ([]byte, error) {
	data, err := zstdDecoder().DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return data, nil
}

func appendBody(dst []byte, prev uint64, evs []Envelope) []byte {
	if len(evs) == 0 {
		panic("events: a frame without events")
	}
	first := &evs[0]
	last := first.Time.UnixMicro()
	dst = binary.AppendUvarint(dst, prev)
	dst = binary.AppendUvarint(dst, first.Seq)
	dst = binary.AppendUvarint(dst, first.Epoch)
	dst = binary.AppendVarint(dst, last)
	dst = binary.AppendUvarint(dst, uint64(len(evs)))
	before := Envelope{Seq: first.Seq - 1, Epoch: first.Epoch}
	for i := range evs {
		e := &evs[i]
		if e.Seq != before.Seq+1 || e.Epoch < before.Epoch {
			panic(fmt.Sprintf("events: seq %d epoch %d follows seq %d epoch %d in a frame", e.Seq, e.Epoch, before.Seq, before.Epoch))
		}
		var bits byte
		if e.Epoch != before.Epoch {
			bits |= bitEpoch
		}
		if e.Run != before.Run {
			bits |= bitRun
		}
		if e.Agent != before.Agent {
			bits |= bitAgent
		}
		if e.Type != before.Type {
			bits |= bitType
		}
		if e.V != 1 {
			bits |= bitV
		}
		dst = append(dst, bits)
		if bits&bitEpoch != 0 {
			dst = binary.AppendUvarint(dst, e.Epoch-before.Epoch)
		}
		t := e.Time.UnixMicro()
		dst = binary.AppendVarint(dst, t-last)
		last = t
		if bits&bitRun != 0 {
			dst = appendString(dst, e.Run)
		}
		if bits&bitAgent != 0 {
			dst = appendString(dst, e.Agent)
		}
		if bits&bitType != 0 {
			dst = appendString(dst, e.Type)
		}
		if bits&bitV != 0 {
			dst = binary.AppendUvarint(dst, uint64(e.V))
		}
		dst = binary.AppendUvarint(dst, uint64(len(e.Payload)))
		dst = append(dst, e.Payload...)
		before = *e
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// DecodeFrame reads a frame. The payloads share memory with data.
func DecodeFrame(data []byte) (Frame, error) {
	if len(data) < 3 || data[0] != frameMagic {
		return Frame{}, fmt.Errorf("%w: no magic", ErrCorrupt)
	}
	if data[1] > frameVersion {
		return Frame{}, fmt.Errorf("%w: %w: version %d", ErrCorrupt, ErrNewer, data[1])
	}
	if data[1] < frameVersion {
		return Frame{}, fmt.Errorf("%w: version %d never was", ErrCorrupt, data[1])
	}
	body := data[3:]
	switch data[2] {
	case 0:
	case flagCompressed:
		var err error
		if body, err = zstdDecoder().DecodeAll(body, nil); err != nil {
			return Frame{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
		}
	default:
		return Frame{}, fmt.Errorf("%w: unknown flags %#x", ErrCorrupt, data[2])
	}
	d := frameDecoder{b: body}
	f := Frame{Prev: d.uvarint()}
	seq, epoch, at, count := d.uvarint(), d.uvarint(), d.varint(), d.uvarint()
	// An event takes at least three bytes.
	if d.bad || count == 0 || count > uint64(len(d.b)/3+1) || seq == 0 {
		return Frame{}, fmt.Errorf("%w: header", ErrCorrupt)
	}
	f.Events = make([]Envelope, count)
	var before Envelope
	before.Epoch = epoch
	for i := range f.Events {
		e := &f.Events[i]
		bits := d.byte()
		if bits&^bitsAll != 0 {
			return Frame{}, fmt.Errorf("%w: event %d: unknown bits", ErrCorrupt, i)
		}
		*e = Envelope{Seq: seq + uint64(i), Epoch: before.Epoch, Run: before.Run, Type: before.Type, V: 1, Agent: before.Agent}
		if bits&bitEpoch != 0 {
			e.Epoch += d.uvarint()
		}
		at += d.varint()
		e.Time = time.UnixMicro(at)
		if bits&bitRun != 0 {
			e.Run = string(d.bytes())
		}
		if bits&bitAgent != 0 {
			e.Agent = string(d.bytes())
		}
		if bits&bitType != 0 {
			e.Type = holdfast.InternType(d.bytes())
		}
		if bits&bitV != 0 {
			e.V = int(d.uvarint())
		}
		e.Payload = d.bytes()
		if d.bad || e.Epoch < before.Epoch {
			return Frame{}, fmt.Errorf("%w: event %d of %d", ErrCorrupt, i+1, count)
		}
		before = *e
	}
	if len(d.b) != 0 {
		return Frame{}, fmt.Errorf("%w: %d bytes after the last event", ErrCorrupt, len(d.b))
	}
	return f, nil
}

// frameDecoder reads from b; after the first failure bad is set and every
// further read gives zero.
type frameDecoder struct {
	b   []byte
	bad bool
}

func (d *frameDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *frameDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *frameDecoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *frameDecoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}
