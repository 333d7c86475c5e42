package sse

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// overBoth runs a test with a node in plain text, and one with TLS.
func overBoth(t *testing.T, test func(t *testing.T, s *site)) {
	for name, secure := range map[string]bool{"plain text": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { test(t, newSiteOver(t, secure, nil)) })
	}
}

// watch has somebody ask for a stream who reads nothing of it.
func (s *site) watch(t *testing.T) {
	t.Helper()
	c := s.dial()
	t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "GET /api/v1/services:watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

// A reader that does not read is cut off, and holds nothing: no stream, no memory, and soon no connection.
func TestAReaderThatDoesNotRead(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site) {
		s.streams.pace = pace{write: 300 * time.Millisecond, lastWrite: time.Second, heartbeat: time.Hour}
		large := synced(7)
		for i := range 1000 {
			large.Services = append(large.Services, &rollcallv1.ServiceRecord{Service: fmt.Sprint(strings.Repeat("x", 200), i)})
		}
		ended := make(chan error, 1)
		s.run = func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
			for {
				if err := send(large); err != nil {
					ended <- err
					return err
				}
			}
		}
		s.watch(t)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("it is not cut off")
		}
		for s.streams.Counts().Services > 0 || s.port.Open() > 0 {
			time.Sleep(time.Millisecond)
		}
		if n := s.streams.Counts().Stalled; n != 1 {
			t.Errorf("%d were counted", n)
		}
	})
}

// A reader that reads slowly, but reads, has the stream for as long as it wants. Found before: it was cut off as one that
// does not read, since Linux let writes go on only when more than a megabyte was free again.
func TestAReaderThatReadsSlowly(t *testing.T) {
	t.Parallel() // as TestAStreamOutlivesTheTimeouts: each takes more than ten seconds
	overBoth(t, func(t *testing.T, s *site) {
		t.Parallel()
		const patience, events = 2 * time.Second, 4
		s.streams.pace = pace{write: patience, lastWrite: time.Second, heartbeat: time.Hour}
		large := synced(7, strings.Repeat("x", 2<<20)) // more than the buffers of the sockets hold
		s.run = func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
			for range events {
				if err := send(large); err != nil {
					return err
				}
			}
			return nil
		}
		c := s.dial()
		defer c.Close()
		fmt.Fprint(c, "GET /api/v1/services:watch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		var b [16 << 10]byte
		var last string
		began, total := time.Now(), 0
		for {
			n, err := c.Read(b[:])
			if total += n; n > 0 {
				last = (last + string(b[:n]))[max(0, len(last)+n-300):]
			}
			if err != nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if took := time.Since(began); total < events*2<<20 || took < patience || !strings.Contains(last, "STOPPING") {
			t.Errorf("%d bytes in %s, which end with %q", total, took, last)
		}
		if n := s.streams.Counts().Stalled; n != 0 {
			t.Errorf("%d were counted as stalled", n)
		}
	})
}

// A node that stops does not wait for a reader that does not read.
func TestANodeStopsAtOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, s *site) {
		s.streams.pace.lastWrite = 50 * time.Millisecond
		large := synced(7, strings.Repeat("x", 1<<20))
		sending := make(chan struct{}, 1)
		s.run = func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
			for {
				select {
				case sending <- struct{}{}:
				default:
				}
				large.Synced = false
				if err := send(large); err != nil {
					return err
				}
			}
		}
		s.watch(t)
		<-sending
		time.Sleep(200 * time.Millisecond) // until the buffers of the sockets are full
		begun := time.Now()
		s.end()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.port.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		if n := s.streams.Counts().Stalled; n != 0 {
			t.Errorf("%d count as stalled", n)
		}
	})
}
