package natsbus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

// A moment in which something that must not happen would.
const moment = 200 * time.Millisecond

// TestFramesReturn: Frames does not return while its function runs.
func TestFramesReturn(t *testing.T) {
	nc := connect(t, startServer(t))
	b := open(t, nc, natsbus.Config{})
	if _, err := b.Append(patient(t), eventstest.NewRef(), 0, []byte("frame")); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		entered, release := make(chan struct{}), make(chan struct{})
		var inside atomic.Bool
		returned := make(chan bool, 1)
		go func() {
			_ = b.Frames(ctx, b.Streams()[0], 0, func(recorder.Frame) error {
				inside.Store(true)
				close(entered)
				<-release
				inside.Store(false)
				return nil
			}) // the cause is our own cancel
			returned <- inside.Load()
		}()
		await(t, entered, "the function is called")
		cancel()
		select {
		case <-returned:
			t.Fatal("Frames has returned, its function has not")
		case <-time.After(moment / 10):
		}
		close(release)
		if await(t, returned, "Frames returns") {
			t.Fatal("Frames has returned, its function has not")
		}
	}
}

// TestFramesAnew: while the function takes its time the connection is lost and the
// consumer made anew. The calls still come one after the other and in order.
func TestFramesAnew(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s)
	b := open(t, nc, natsbus.Config{})
	looker, err := jetstream.New(connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := looker.Stream(patient(t), b.Streams()[0])
	if err != nil {
		t.Fatal(err)
	}
	consumer := func() string {
		for name := range stream.ConsumerNames(patient(t)).Name() {
			return name
		}
		return ""
	}
	const frames = 20
	for range frames {
		if _, err := b.Append(patient(t), eventstest.NewRef(), 0, []byte("frame")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered, release, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var inside atomic.Int32
	returned := make(chan error, 1)
	go func() {
		var last uint64
		returned <- b.Frames(ctx, b.Streams()[0], 0, func(f recorder.Frame) error {
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d calls at once", n)
			}
			defer inside.Add(-1)
			if f.Pos != last+1 {
				t.Errorf("position %d after %d", f.Pos, last)
			}
			last = f.Pos
			switch f.Pos {
			case 1:
				close(entered)
				<-release
			case frames:
				close(all)
			}
			return nil
		})
	}()
	await(t, entered, "the function is called")
	first := consumer()
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	deadline := patient(t)
	for now := ""; now == "" || now == first; now = consumer() {
		if deadline.Err() != nil || len(returned) > 0 {
			t.Fatal("no new consumer is made")
		}
	}
	select {
	case <-all:
		t.Error("the function is called while it runs")
	case <-time.After(moment):
	}
	close(release)
	await(t, all, "all frames")
	cancel()
	await(t, returned, "Frames returns")
}
