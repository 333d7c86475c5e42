package writestream

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func queued(s *session, n, size int) (all []*pending) {
	for range n {
		p := &pending{write: &rollcallv1.StreamedWrite{}, size: size, done: make(chan Outcome, 1)}
		s.add(p)
		all = append(all, p)
	}
	return all
}

// A message holds what a node takes at once, whatever waits.
func TestMessagesAreBounded(t *testing.T) {
	for name, tt := range map[string]struct{ writes, size, first int }{
		"few":           {10, 100, 10},
		"many":          {2_500, 100, 1_000},
		"large ones":    {40, MaxWriteBytes, maxMessageBytes / MaxWriteBytes},
		"too many wait": {9_000, 1, 1_000},
	} {
		s := newSession("3f9a", 0)
		all := queued(s, tt.writes, tt.size)
		got, ids := 0, map[uint64]bool{}
		for {
			req, ended := s.next()
			if ended {
				t.Fatalf("%s: the session ended", name)
			}
			n := len(req.GetWrites())
			if got == 0 && n != tt.first {
				t.Errorf("%s: the first message has %d writes, want %d", name, n, tt.first)
			}
			if n == 0 {
				break
			}
			for _, w := range req.GetWrites() {
				ids[w.GetId()] = true
			}
			got += n
		}
		if want := min(len(all), maxUnanswered); got != want || len(ids) != want {
			t.Errorf("%s: %d writes with %d ids, want %d", name, got, len(ids), want)
		}
	}
}

// A write that is given up before it was sent never is.
func TestWithdraw(t *testing.T) {
	s := newSession("", 0)
	all := queued(s, 3, 1)
	if sent, ok := s.withdraw(all[1]); sent || !ok {
		t.Errorf("one that waits: sent %t, %t", sent, ok)
	}
	if req, _ := s.next(); len(req.GetWrites()) != 2 {
		t.Errorf("%v was sent", req)
	}
	if sent, ok := s.withdraw(all[0]); !sent || !ok {
		t.Errorf("one that was sent: sent %t, %t", sent, ok)
	}
	s.end(io.EOF)
	if _, ok := s.withdraw(all[2]); ok {
		t.Error("one that was answered can be given up")
	}
	if out := <-all[2].done; !out.Sent || status.Code(out.Err) != codes.Unavailable {
		t.Errorf("one on a stream that ended: %v", out)
	}
	if s.add(&pending{write: &rollcallv1.StreamedWrite{}}) {
		t.Error("a session that ended takes writes")
	}
}

// The status of a stream is that of the writes that it leaves only if it says what became of them.
func TestLost(t *testing.T) {
	says, err := status.New(codes.Unavailable, "stopping").WithDetails(&errdetails.ErrorInfo{Metadata: map[string]string{"written": "no"}})
	if err != nil {
		t.Fatal(err)
	}
	silent, err := status.New(codes.InvalidArgument, "ids").WithDetails(&errdetails.ErrorInfo{Reason: "INVALID_ARGUMENT"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{says.Err(), "rpc error: code = Unavailable desc = stopping"},
		{silent.Err(), "rpc error: code = Unavailable desc = the stream of writes ended: ids"},
		{io.EOF, "rpc error: code = Unavailable desc = the node ended the stream of writes"},
	} {
		if got := lost(tt.err); got.Error() != tt.want {
			t.Errorf("%v became %v", tt.err, got)
		}
	}
}

// silent is a stream whose node sends nothing.
type silent struct {
	grpc.ClientStream
	ctx context.Context
}

func (s silent) Send(*rollcallv1.WriteStreamRequest) error { return nil }
func (s silent) Recv() (*rollcallv1.WriteStreamResponse, error) {
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

// A stream that does not open in time is given up, and tried again a while later; writes do not wait for it.
func TestAStreamThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int64
		w := New(Config{Timeout: 2 * time.Second, Credential: func() uint64 { return 0 }, Open: func(ctx context.Context) (Stream, error) {
			opened.Add(1)
			return silent{ctx: ctx}, nil
		}})
		defer w.Close()
		begun := time.Now()
		for range 100 {
			if _, ok := w.Do(t.Context(), &rollcallv1.StreamedWrite{}, 1, ""); ok {
				t.Error("a write went over a stream that is not open")
			}
			if time.Sleep(100 * time.Millisecond); opened.Load() == 0 {
				t.Error("no stream is opened")
			}
		}
		if took := time.Since(begun); took != 10*time.Second || opened.Load() != 4 { // 2 s to open, 1 s of pause
			t.Errorf("%d were opened in %v", opened.Load(), took)
		}
	})
}

// What cannot be opened at all is not tried all the time, and a node that does not know streams even more seldom.
func TestAStreamThatCannotBeOpened(t *testing.T) {
	for want, err := range map[int]error{10: errors.New("refused"), 1: status.Error(codes.Unimplemented, "unknown method")} {
		synctest.Test(t, func(t *testing.T) {
			var opened atomic.Int64
			w := New(Config{Timeout: 2 * time.Second, Credential: func() uint64 { return 0 }, Open: func(context.Context) (Stream, error) {
				opened.Add(1)
				return nil, err
			}})
			defer w.Close()
			for range 95 {
				w.Do(t.Context(), &rollcallv1.StreamedWrite{}, 1, "")
				time.Sleep(100 * time.Millisecond)
			}
			if int(opened.Load()) != want {
				t.Errorf("%v: %d were opened, want %d", err, opened.Load(), want)
			}
		})
	}
}
