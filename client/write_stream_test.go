package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// WriteStream answers each write from a goroutine of its own, as its unary call would be.
func (n *fakeNode) WriteStream(stream grpc.BidiStreamingServer[rollcallv1.WriteStreamRequest, rollcallv1.WriteStreamResponse]) error {
	if err := n.enter(stream.Context(), "WriteStream", nil); err != nil {
		return err
	}
	n.cluster.mu.Lock()
	streams, id := n.streams, cmp.Or(n.stray, n.cluster.id)
	n.cluster.mu.Unlock()
	if streams != nil {
		return streams
	}
	if err := stream.Send(&rollcallv1.WriteStreamResponse{ClusterId: id}); err != nil {
		return err
	}
	received := make(chan error, 1)
	var writes sync.WaitGroup
	go func() {
		var sending sync.Mutex
		for {
			req, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			for _, w := range req.GetWrites() {
				writes.Go(func() {
					r := n.streamed(stream.Context(), w)
					sending.Lock()
					defer sending.Unlock()
					if stream.Context().Err() != nil {
						return
					}
					_ = stream.Send(&rollcallv1.WriteStreamResponse{Results: []*rollcallv1.StreamedResult{r}})
				})
			}
		}
	}()
	for {
		n.cluster.mu.Lock()
		changed, draining := n.cluster.changed, n.draining
		n.cluster.mu.Unlock()
		if draining {
			return refusal(codes.Unavailable, "STOPPING", map[string]string{"written": "no"})
		}
		select {
		case err := <-received:
			writes.Wait()
			if err == io.EOF {
				return nil
			}
			return err
		case <-changed:
		case <-stream.Context().Done(): // its caller may not write any more
			return stream.Context().Err()
		}
	}
}

func (n *fakeNode) streamed(ctx context.Context, w *rollcallv1.StreamedWrite) *rollcallv1.StreamedResult {
	if t := w.GetTimeout(); t != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.AsDuration())
		defer cancel()
	}
	n.cluster.do(func() { n.calls = append(n.calls, call{method: "streamed", request: w}) })
	r := &rollcallv1.StreamedResult{Id: w.GetId()}
	var err error
	switch w := w.GetWrite().(type) {
	case *rollcallv1.StreamedWrite_Set:
		var res *rollcallv1.SetServingStatusResponse
		res, err = n.SetServingStatus(ctx, w.Set)
		r.Result = &rollcallv1.StreamedResult_Set{Set: res}
	case *rollcallv1.StreamedWrite_Batch:
		var res *rollcallv1.BatchSetServingStatusResponse
		res, err = n.BatchSetServingStatus(ctx, w.Batch)
		r.Result = &rollcallv1.StreamedResult_Batch{Batch: res}
	case *rollcallv1.StreamedWrite_Delete:
		var res *rollcallv1.DeleteServiceResponse
		res, err = n.DeleteService(ctx, w.Delete)
		r.Result = &rollcallv1.StreamedResult_Delete{Delete: res}
	}
	if err != nil {
		st, ok := status.FromError(err)
		if !ok {
			st = status.FromContextError(err) // as gRPC does for a call of its own
		}
		r.Result = &rollcallv1.StreamedResult_Error{Error: st.Proto()}
	}
	return r
}

// crowd makes n writes at the same time, of services s0, s1, …; it returns their errors.
func crowd(ctx context.Context, c *client.Client, n int, o client.WriteOptions) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, errs[i] = c.Set(ctx, fmt.Sprint("s", i), serving, o) })
	}
	all.Wait()
	return errs
}

func requireNone(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

// openStream has f's client open its stream to the first node.
func openStream(t *testing.T, f *fakeCluster, c *client.Client) {
	t.Helper()
	f.do(func() {
		f.nodes[0].onWrite = func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }
	})
	requireNone(t, crowd(t.Context(), c, 3, client.WriteOptions{}))
	f.do(func() { f.nodes[0].onWrite = nil })
	synctest.Wait()
	if len(f.nodes[0].seen("WriteStream")) == 0 {
		t.Fatal("no stream was opened")
	}
}

// Writes that wait at the same time share one stream; one that is alone is a call of its own. Answers are the same.
func TestWritesThatWaitShareAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		n, c := f.nodes[0], f.client(t)
		for range 5 {
			if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		wantCalls(t, n, "WriteStream", 0)
		openStream(t, f, c)
		n.onWrite = func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }
		var all sync.WaitGroup
		for i := range 100 {
			name := fmt.Sprint("t", i)
			all.Go(func() {
				res, err := c.Set(t.Context(), name, notServing, client.WriteOptions{Reason: "why"})
				if err != nil || res.GetService().GetService() != name || res.GetClusterId() != "3f9a" || res.GetRevision() == 0 {
					t.Errorf("set %s: %v, %v", name, res, err)
				}
			})
			all.Go(func() {
				res, err := c.SetBatch(t.Context(), []client.Change{{Service: name + "a", Status: serving}, {Service: name + "b", Status: serving}}, client.WriteOptions{})
				if err != nil || res.GetChangedCount() != 2 {
					t.Errorf("batch %s: %v, %v", name, res, err)
				}
			})
			all.Go(func() {
				if res, err := c.Delete(t.Context(), name+"c", client.WriteOptions{AllowMissing: true}); err != nil || res.GetRevision() == 0 {
					t.Errorf("delete %s: %v, %v", name, res, err)
				}
			})
		}
		all.Wait()
		wantCalls(t, n, "WriteStream", 1)
		streamed := len(n.seen("streamed"))
		if streamed < 290 {
			t.Errorf("%d of 300 went over the stream", streamed)
		}
		if err := set(t.Context(), c, client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		wantCalls(t, n, "streamed", streamed)
	})
}

// A stream that nobody uses ends; the next crowd opens another.
func TestAnIdleWriteStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		openStream(t, f, c)
		requireNone(t, crowd(t.Context(), c, 20, client.WriteOptions{}))
		time.Sleep(time.Minute)
		openStream(t, f, c)
		before := len(f.nodes[0].seen("streamed"))
		// All of them wait at the same time.
		f.do(func() {
			f.nodes[0].onWrite = func(context.Context, int) error { time.Sleep(time.Millisecond); return nil }
		})
		requireNone(t, crowd(t.Context(), c, 20, client.WriteOptions{}))
		wantCalls(t, f.nodes[0], "WriteStream", 2)
		if got := len(f.nodes[0].seen("streamed")) - before; got < 15 {
			t.Errorf("%d of 20 went over the second stream", got)
		}
	})
}

// What a stream cannot carry, or must not, are calls of their own.
func TestWritesThatGoAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		node func(n *fakeNode)
		cfg  func(cfg *client.Config)
		ctx  func(ctx context.Context) context.Context
		o    client.WriteOptions
		code codes.Code
	}{
		"the node is of an earlier version": {node: func(n *fakeNode) { n.streams = status.Error(codes.Unimplemented, "unknown method WriteStream") }},
		"the node has too many streams":     {node: func(n *fakeNode) { n.streams = refusal(codes.ResourceExhausted, "LIMIT_REACHED", nil) }},
		"the program asks for it":           {cfg: func(cfg *client.Config) { cfg.UnaryWrites = true }},
		"metadata": {ctx: func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "x-trace", "1")
		}},
		"a dry run":           {o: client.WriteOptions{DryRun: true}},
		"a text is not UTF-8": {o: client.WriteOptions{Reason: "\xff"}, code: codes.Internal},
		"it is large":         {o: client.WriteOptions{Reason: strings.Repeat("r", 100_000)}},
		"for another cluster": {o: client.WriteOptions{Cluster: "9999"}, code: codes.FailedPrecondition},
		"a rule is not UTF-8": {o: client.WriteOptions{BreakGlass: []string{"a\xffb"}, Reason: "r"}, code: codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 1)
				cfg, ctx := f.config(), t.Context()
				if tt.node != nil {
					tt.node(f.nodes[0])
				}
				if tt.cfg != nil {
					tt.cfg(&cfg)
				}
				if tt.ctx != nil {
					ctx = tt.ctx(ctx)
				}
				c := newClient(t, cfg)
				requireNone(t, crowd(t.Context(), c, 5, client.WriteOptions{}))
				synctest.Wait()
				before := len(f.nodes[0].seen("streamed"))
				for i, err := range crowd(ctx, c, 30, tt.o) {
					if status.Code(err) != tt.code {
						t.Fatalf("%d: %v", i, err)
					}
				}
				wantCalls(t, f.nodes[0], "streamed", before)
				if got := len(f.nodes[0].seen("WriteStream")); got > 1 {
					t.Errorf("%d streams were asked for at once", got)
				}
			})
		})
	}
}

// When the stream breaks, what was sent and not answered is tried again as the same request, done or not.
func TestABrokenWriteStream(t *testing.T) {
	for name, end := range map[string]func(f *fakeCluster, n *fakeNode){
		"the connection breaks": func(_ *fakeCluster, n *fakeNode) { n.breakConnections() },
		"the node is killed":    func(_ *fakeCluster, n *fakeNode) { n.kill() },
		"the node hangs":        func(f *fakeCluster, n *fakeNode) { f.do(func() { n.hung = true }) },
		"the node drains":       func(_ *fakeCluster, n *fakeNode) { n.drain() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startBuffered(t, 2)
				c := f.client(t)
				openStream(t, f, c)
				events := len(f.events)
				n := f.nodes[0]
				keep := make(chan struct{})
				var mu sync.Mutex
				held := 0
				// Half of them are done before their answers are lost, half are not.
				hold := func(ctx context.Context, _ int) error {
					mu.Lock()
					held++
					mu.Unlock()
					select {
					case <-keep:
					case <-ctx.Done():
					}
					return status.Error(codes.Unavailable, "lost")
				}
				f.do(func() {
					count := 0
					n.onWrite = func(ctx context.Context, i int) error {
						mu.Lock()
						count++
						odd := count%2 == 1
						mu.Unlock()
						if odd {
							return nil
						}
						return hold(ctx, i)
					}
					n.onAnswer = hold
				})
				done := make(chan []error)
				begun := time.Now()
				go func() { done <- crowd(within(t, 30*time.Second), c, 100, client.WriteOptions{}) }()
				synctest.Wait()
				mu.Lock()
				if held != 100 {
					t.Errorf("%d of 100 wait", held)
				}
				mu.Unlock()
				end(f, n)
				requireNone(t, <-done)
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				f.mu.Lock()
				if got := len(f.events) - events; got != 100 {
					t.Errorf("100 writes made %d events", got)
				}
				f.mu.Unlock()
				close(keep)
				f.do(func() { n.hung = false })
			})
		})
	}
}

// Each caller's own time and cancellation counts, and what it learns is as of a unary call.
func TestStreamedWritesKeepTheirDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 1)
		c := f.client(t)
		openStream(t, f, c)
		f.do(func() {
			f.nodes[0].onWrite = func(ctx context.Context, _ int) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		ends := make(chan error, 3)
		short, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		took := map[string]time.Duration{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for name, ctx := range map[string]context.Context{"deadline": within(t, 700*time.Millisecond), "canceled": short, "patient": within(t, time.Second)} {
			all.Go(func() {
				_, err := c.Set(ctx, name, serving, client.WriteOptions{})
				mu.Lock()
				defer mu.Unlock()
				took[name] = time.Since(begun)
				e := failure(t, err)
				want := context.DeadlineExceeded
				if name == "canceled" {
					want = context.Canceled
				}
				if !errors.Is(err, want) || e.Written != client.WrittenUnknown {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		cancel()
		all.Wait()
		close(ends)
		if took["deadline"] != 700*time.Millisecond || took["canceled"] != 300*time.Millisecond || took["patient"] != time.Second {
			t.Errorf("they took %v", took)
		}
	})
}

// A client that is closed ends its writes on streams at once; goleak sees what it leaves.
func TestCloseEndsStreamedWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 2)
		c, err := client.New(f.config())
		if err != nil {
			t.Fatal(err)
		}
		openStream(t, f, c)
		f.do(func() {
			f.nodes[0].onWrite = func(ctx context.Context, _ int) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		done := make(chan []error)
		go func() { done <- crowd(context.Background(), c, 50, client.WriteOptions{}) }()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range <-done {
			if e := failure(t, err); !errors.Is(err, client.ErrClosed) || e.Written != client.WrittenUnknown {
				t.Errorf("%v", err)
			}
		}
	})
}
