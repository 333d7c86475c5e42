package flowcontrol

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/budget"
)

// heldStream is a stream whose answers stay where gRPC keeps them until they are freed.
type heldStream struct {
	grpc.ServerStream
	held []mem.BufferSlice
	err  error
}

func (s *heldStream) SendMsg(m any) error {
	b, err := NewCodec().Marshal(m)
	if err != nil {
		return err
	}
	if s.err != nil {
		b.Free()
		return s.err
	}
	s.held = append(s.held, b)
	return nil
}

// TestAnswerSender: one answer is under way at most, and what it and its message hold is counted until it has left.
func TestAnswerSender(t *testing.T) {
	b := budget.New("answer-bytes", 100_000, 50_000, nil)
	used := func() int64 {
		used, _, _ := b.Use()
		return used
	}
	stream, o := &heldStream{}, NewAnswerSender(b, &peer.Peer{})
	answer := &rollcallv1.KeepAliveResponse{RenewedLeaseIds: []string{strings.Repeat("x", 10_000)}}
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	if f := o.Take(smallAnswer); f != nil || used() != 0 {
		t.Errorf("a small one: %v, %d bytes", f, used())
	}
	if err := o.Send(t.Context(), stream, &rollcallv1.KeepAliveResponse{}); err != nil {
		t.Fatal(err)
	}
	stream.held[0].Free()
	if !o.Gone() || used() != 0 {
		t.Errorf("%d bytes are used after a small one", used())
	}
	o.left <- struct{}{} // which Gone took

	if f := o.Take(20_000); f != nil || used() != 20_000 {
		t.Errorf("%v, %d bytes", f, used())
	}
	if err := o.Send(t.Context(), stream, answer); err != nil || used() != 20_000 {
		t.Errorf("%v, %d bytes", err, used())
	}
	if got := len(stream.held[1].Materialize()); got < 10_000 {
		t.Errorf("the answer has %d bytes", got)
	}
	if f := o.Take(40_000); f == nil || used() != 20_000 {
		t.Errorf("more than a connection may have: %v, %d bytes", f, used())
	}
	if f := o.Take(10_000); f != nil || used() != 30_000 {
		t.Errorf("%v, %d bytes", f, used())
	}
	if err := o.Send(ended, stream, answer); !errors.Is(err, context.Canceled) || len(stream.held) != 2 {
		t.Errorf("the second was sent before the first had left: %v", err)
	}
	stream.held[1].Free()
	if used() != 10_000 {
		t.Errorf("%d bytes are used after the first has left", used())
	}
	if err := o.Send(t.Context(), stream, answer); err != nil || len(stream.held) != 3 {
		t.Error(err)
	}
	o.Close() // with an answer under way
	if used() != 0 {
		t.Errorf("%d bytes are used after Close", used())
	}
	stream.held[2].Free()

	broken := NewAnswerSender(b, &peer.Peer{})
	if f := broken.Take(20_000); f != nil {
		t.Fatal(f)
	}
	if err := broken.Send(t.Context(), &heldStream{err: errors.New("broken")}, answer); err == nil || used() != 0 {
		t.Errorf("a stream that broke: %v, %d bytes", err, used())
	}
	if f := broken.Take(20_000); f != nil {
		t.Fatal(f)
	}
	broken.Close() // with an answer that was never sent
	if used() != 0 {
		t.Errorf("%d bytes are used", used())
	}
}
