package main

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// writeStream is one Admin.WriteStream that writers share. Writes that come while a message is sent share the next.
type writeStream struct {
	wake chan struct{} // capacity 1: writes wait, or the stream has ended

	mu      sync.Mutex // guards what follows
	last    uint64
	waiting []*rollcallv1.StreamedWrite
	calls   map[uint64]chan error // capacity 1 each
	ended   error
}

// openWriteStream opens a stream through a member. It ends with ctx.
func (c *rollcall) openWriteStream(ctx context.Context, member int) (*writeStream, error) {
	stream, err := rollcallv1.NewAdminClient(c.conns[member]).WriteStream(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); err != nil {
		return nil, err
	}
	s := &writeStream{wake: make(chan struct{}, 1), calls: map[uint64]chan error{}}
	go func() {
		for {
			res, err := stream.Recv()
			if err != nil {
				s.end(err)
				return
			}
			s.answer(res.GetResults())
		}
	}()
	go func() {
		for range s.wake {
			runtime.Gosched() // those that run now may have writes, too
			req := s.next()
			if req == nil {
				return
			}
			if len(req.Writes) > 0 && stream.Send(req) != nil {
				return // Recv says why
			}
		}
	}()
	return s, nil
}

func (s *writeStream) answer(results []*rollcallv1.StreamedResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		done := s.calls[r.GetId()]
		delete(s.calls, r.GetId())
		if e := r.GetError(); e != nil {
			done <- status.FromProto(e).Err()
		} else {
			done <- nil
		}
	}
}

func (s *writeStream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = err
	for _, done := range s.calls {
		done <- err
	}
	s.calls = nil
	s.poke()
}

func (s *writeStream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next returns what waits; nil: the stream has ended.
func (s *writeStream) next() *rollcallv1.WriteStreamRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil
	}
	req := &rollcallv1.WriteStreamRequest{Writes: s.waiting}
	s.waiting = nil
	return req
}

// write sends a write and waits for its answer.
func (s *writeStream) write(ctx context.Context, w *rollcallv1.StreamedWrite) error {
	done := make(chan error, 1)
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return errors.Join(errors.New("the stream has ended"), s.ended)
	}
	s.last++
	w.Id = s.last
	s.calls[w.Id] = done
	s.waiting = append(s.waiting, w)
	s.poke()
	s.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// streamWriter is writer over a stream.
func (c *rollcall) streamWriter(s *writeStream, id int) func(context.Context) error {
	n := 0
	return func(ctx context.Context) error {
		req := setRequest(id, n, c.requests)
		n++
		return s.write(ctx, &rollcallv1.StreamedWrite{Brief: true, Write: &rollcallv1.StreamedWrite_Set{Set: req}})
	}
}
