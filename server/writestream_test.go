package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

type writeStreamClient = grpc.BidiStreamingClient[rollcallv1.WriteStreamRequest, rollcallv1.WriteStreamResponse]

// another is a connection of another client.
func (n *testNode) another(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+n.name,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return n.apiLis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// openWriteStream opens a stream and receives its first message.
func (n *testNode) openWriteStream(t *testing.T, ctx context.Context) writeStreamClient {
	t.Helper()
	stream, err := n.admin().WriteStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.GetClusterId() != "3f9a" || len(first.GetResults()) != 0 {
		t.Fatalf("the first message is %v, %v", first, err)
	}
	return stream
}

func streamedSet(id uint64, name string, s Status) *rollcallv1.StreamedWrite {
	return &rollcallv1.StreamedWrite{Id: id, Write: &rollcallv1.StreamedWrite_Set{Set: setRequest(name, s)}}
}

func sendWrites(t *testing.T, stream writeStreamClient, writes ...*rollcallv1.StreamedWrite) {
	t.Helper()
	if err := stream.Send(&rollcallv1.WriteStreamRequest{Writes: writes}); err != nil {
		t.Fatal(err)
	}
}

// answersOf receives n answers, by id.
func answersOf(t *testing.T, stream writeStreamClient, n int) map[uint64]*rollcallv1.StreamedResult {
	t.Helper()
	answers := map[uint64]*rollcallv1.StreamedResult{}
	for len(answers) < n {
		res, err := stream.Recv()
		if err != nil {
			t.Fatalf("after %d of %d answers: %v", len(answers), n, err)
		}
		for _, r := range res.GetResults() {
			if answers[r.GetId()] != nil {
				t.Errorf("%d was answered twice", r.GetId())
			}
			answers[r.GetId()] = r
		}
	}
	if len(answers) > n {
		t.Errorf("%d answers to %d writes", len(answers), n)
	}
	return answers
}

func errorIn(r *rollcallv1.StreamedResult) error {
	if r.GetError() == nil {
		return nil
	}
	return status.FromProto(r.GetError()).Err()
}

// Every kind of write is answered as its unary call is.
func TestStreamedWritesAreAnsweredAsUnaryOnes(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		bubble(t, leader+" leads", func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "rollcall-cluster", "3f9a")
			c := newTestCluster(t, 2)
			c.elect(leader)
			n := c.nodes["n1"]
			stream := n.openWriteStream(t, ctx)
			defer stream.CloseSend()
			set := &rollcallv1.SetServingStatusRequest{Service: "a", Status: serving.Enum(), Reason: "why", Actor: "ann", RequestId: "r1"}
			bad := &rollcallv1.SetServingStatusRequest{Service: "a*", RequestId: "r1"}
			batch := &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{{Service: "b", Status: serving.Enum()}, {Service: "c", Status: notServing.Enum()}}}
			remove := &rollcallv1.DeleteServiceRequest{Service: "a", AllowMissing: true}
			dry := &rollcallv1.SetServingStatusRequest{Service: "d", Status: serving.Enum(), ValidateOnly: true}
			sendWrites(t, stream,
				&rollcallv1.StreamedWrite{Id: 7, Write: &rollcallv1.StreamedWrite_Set{Set: set}},
				&rollcallv1.StreamedWrite{Id: 1 << 63, Write: &rollcallv1.StreamedWrite_Set{Set: bad}},
				&rollcallv1.StreamedWrite{Id: 0, Write: &rollcallv1.StreamedWrite_Batch{Batch: batch}},
				&rollcallv1.StreamedWrite{Id: 3, Write: &rollcallv1.StreamedWrite_Delete{Delete: remove}},
				&rollcallv1.StreamedWrite{Id: 4, Write: &rollcallv1.StreamedWrite_Set{Set: dry}},
				&rollcallv1.StreamedWrite{Id: 5},
				&rollcallv1.StreamedWrite{Id: 6, Brief: true, Write: &rollcallv1.StreamedWrite_Set{Set: set}},
				&rollcallv1.StreamedWrite{Id: 8, Brief: true, Write: &rollcallv1.StreamedWrite_Batch{Batch: batch}},
				&rollcallv1.StreamedWrite{Id: 9, Write: &rollcallv1.StreamedWrite_Set{Set: set}, Timeout: durationpb.New(-1)},
			)
			answers := answersOf(t, stream, 9)
			// The unary calls after it: the same, but for the revision.
			same := func(id uint64, got, unary proto.Message, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				field := func(m proto.Message) {
					m.ProtoReflect().Clear(m.ProtoReflect().Descriptor().Fields().ByName("revision"))
				}
				field(got)
				field(unary)
				if !proto.Equal(got, unary) {
					t.Errorf("%d is answered with\n%v, the unary call with\n%v", id, got, unary)
				}
			}
			unarySet, err := n.admin().SetServingStatus(ctx, set)
			same(7, answers[7].GetSet(), unarySet, err)
			unaryBatch, err := n.admin().BatchSetServingStatus(ctx, batch)
			same(0, answers[0].GetBatch(), unaryBatch, err)
			unaryDelete, err := n.admin().DeleteService(ctx, remove)
			same(3, answers[3].GetDelete(), unaryDelete, err)
			unaryDry, err := n.admin().SetServingStatus(ctx, dry)
			same(4, answers[4].GetSet(), unaryDry, err)
			_, err = n.admin().SetServingStatus(ctx, bad)
			if want := status.Convert(err).Proto(); answers[1<<63].GetError().String() != want.String() {
				t.Errorf("a bad one is answered with\n%v, the unary call with\n%v", answers[1<<63].GetError(), want)
			}
			checkError(t, errorIn(answers[5]), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "write is required"})
			checkError(t, errorIn(answers[9]), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "timeout is not"})
			if got := answers[6].GetSet(); got == nil || got.GetService() != nil || !got.GetChanged() || got.GetRevision() == 0 {
				t.Errorf("brief: %v", got)
			}
			if got := answers[8].GetBatch(); got == nil || got.GetServices() != nil || got.GetChangedCount() != 2 {
				t.Errorf("brief: %v", got)
			}
			if got := c.nodes[leader].agreement.count(); got != 5+3 {
				t.Errorf("%d commands were proposed", got)
			}
		})
	}
}

// Writes are answered when they are done, in any order, and each alone.
func TestStreamedWritesEndEachAlone(t *testing.T) {
	for _, leader := range []string{"n1", "n2"} {
		bubble(t, leader+" leads", func(t *testing.T) {
			c := newTestCluster(t, 2)
			c.elect(leader)
			agreement := c.nodes[leader].agreement
			first := make(chan struct{})
			tries := 0
			agreement.onPropose(func(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
				switch name := cmd.GetWrite().GetChanges()[0].GetService(); name {
				case "slow":
					<-first
				case "lost":
					return nil, unknownErr{errors.New("leadership lost")}
				case "again":
					if tries++; tries < 3 {
						return nil, notWrittenErr{errors.New("not now")}
					}
				case "refused":
					return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Key: name, Kind: logv1.Kind_KIND_SERVICE, Value: 3}}, nil
				case "hangs":
					<-t.Context().Done()
				}
				return agreement.apply(cmd), nil
			})
			stream := c.nodes["n1"].openWriteStream(t, t.Context())
			hangs := streamedSet(6, "hangs", serving)
			hangs.Timeout = durationpb.New(2 * time.Second)
			begun := time.Now()
			sendWrites(t, stream, streamedSet(1, "slow", serving), streamedSet(2, "lost", serving), streamedSet(3, "again", serving),
				streamedSet(4, "refused", serving), streamedSet(5, "done", serving), hangs)
			answers := answersOf(t, stream, 5)
			checkError(t, errorIn(answers[2]), want{codes.Unknown, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "leadership lost"})
			checkError(t, errorIn(answers[4]), want{codes.FailedPrecondition, rpcerror.ReasonRevisionMismatch, rpcerror.WrittenNo, nil, "refused"})
			for _, id := range []uint64{3, 5} {
				if err := errorIn(answers[id]); err != nil || answers[id].GetSet() == nil {
					t.Errorf("%d: %v", id, answers[id])
				}
			}
			checkError(t, errorIn(answers[6]), want{codes.DeadlineExceeded, rpcerror.ReasonOutcomeUnknown, rpcerror.WrittenUnknown, nil, "outcome unknown"})
			if took := time.Since(begun); took > 2*time.Second || took < time.Second {
				t.Errorf("one that hangs was answered after %v", took)
			}
			close(first)
			if a := answersOf(t, stream, 1); a[1].GetSet() == nil {
				t.Errorf("the slow one: %v", a)
			}
			stream.CloseSend()
			if _, err := stream.Recv(); err != io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
}

// Without a leader a write waits as a unary one does: as long as its caller, less the time for the answer, that it is
// not written.
func TestStreamedWritesWaitForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		n := c.nodes["n1"]
		stream := n.openWriteStream(t, t.Context())
		defer stream.CloseSend()
		short := streamedSet(1, "short", serving)
		short.Timeout = durationpb.New(2 * time.Second)
		begun := time.Now()
		sendWrites(t, stream, short, streamedSet(2, "long", serving))
		a := answersOf(t, stream, 1)
		checkError(t, errorIn(a[1]), want{codes.Unavailable, rpcerror.ReasonNotWritten, rpcerror.WrittenNo, nil, "no leader"})
		if took := time.Since(begun); took != 1900*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		c.elect("n2")
		if a := answersOf(t, stream, 1); a[2].GetSet() == nil {
			t.Errorf("with a leader: %v", a)
		}
	})
}

// A message that makes no sense as a whole is not done, and ends the stream after the answers to what came before.
func TestStreamedMessagesThatAreRefused(t *testing.T) {
	many := func(n int) *rollcallv1.StreamedWrite {
		b := &rollcallv1.BatchSetServingStatusRequest{}
		for i := range n {
			b.Changes = append(b.Changes, &rollcallv1.StatusChange{Service: fmt.Sprint("s", i), Status: serving.Enum()})
		}
		return &rollcallv1.StreamedWrite{Id: uint64(100 + n), Write: &rollcallv1.StreamedWrite_Batch{Batch: b}}
	}
	for name, tt := range map[string]struct {
		writes []*rollcallv1.StreamedWrite
		want   string
		field  string
	}{
		"an id twice":           {[]*rollcallv1.StreamedWrite{streamedSet(2, "a", serving), streamedSet(2, "b", serving)}, "is 2, which", "writes.id"},
		"an id that waits":      {[]*rollcallv1.StreamedWrite{streamedSet(2, "a", serving), streamedSet(1, "b", serving)}, "is 1, which", "writes.id"},
		"too many changes":      {[]*rollcallv1.StreamedWrite{many(limits.MaxChanges), streamedSet(2, "a", serving)}, "have 10001 changes", "writes"},
		"too many in two parts": {[]*rollcallv1.StreamedWrite{many(5_001), many(5_000)}, "have 10001 changes", "writes"},
	} {
		bubble(t, name, func(t *testing.T) {
			n := single(t)
			release := make(chan struct{})
			n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
				<-release
				return n.agreement.apply(cmd), nil
			})
			stream := n.openWriteStream(t, t.Context())
			sendWrites(t, stream, streamedSet(1, "before", serving))
			synctest.Wait()
			sendWrites(t, stream, tt.writes...)
			synctest.Wait()
			close(release)
			if a := answersOf(t, stream, 1); a[1].GetSet() == nil {
				t.Errorf("what came before: %v", a)
			}
			_, err := stream.Recv()
			checkError(t, err, want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, tt.field + " " + tt.want})
			if got := n.agreement.count(); got != 1 {
				t.Errorf("%d commands were proposed", got)
			}
		})
	}
}

// Renewals ride on the stream of writes, beside writes that name their leases.
func TestStreamedKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		c.elect("n2")
		stream := c.nodes["n1"].openWriteStream(t, t.Context())
		defer stream.CloseSend()
		renew := func(id uint64, leases ...string) *rollcallv1.StreamedWrite {
			return &rollcallv1.StreamedWrite{Id: id, Write: &rollcallv1.StreamedWrite_KeepAlive{KeepAlive: &rollcallv1.KeepAliveRequest{LeaseIds: leases}}}
		}
		set := streamedSet(2, "a", serving)
		set.GetSet().LeaseId = "0123456789abcdef"
		short := renew(4, "0123456789abcdef")
		short.Timeout = durationpb.New(-1)
		c.nodes["n2"].lessor.onRenew(func(context.Context, []string) ([]string, error) { return []string{"00000000000000aa"}, nil })
		sendWrites(t, stream, renew(1, "0123456789abcdef", "00000000000000aa"), set, renew(3, ""), short)
		a := answersOf(t, stream, 4)
		if got := a[1].GetKeepAlive(); len(got.GetRenewedLeaseIds()) != 1 || len(got.GetLostLeaseIds()) != 1 || got.GetClusterId() != "" {
			t.Errorf("renewed: %v", a[1])
		}
		if a[2].GetSet() == nil || c.nodes["n2"].lastCommand().GetWrite().GetChanges()[0].GetLeaseId() != "0123456789abcdef" {
			t.Errorf("a leased write: %v", a[2])
		}
		checkError(t, errorIn(a[3]), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, "", nil, "lease_ids[0]"})
		checkError(t, errorIn(a[4]), want{codes.InvalidArgument, rpcerror.ReasonInvalidArgument, rpcerror.WrittenNo, nil, "timeout is not"})
		c.nodes["n2"].agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "", false })
		c.nodes["n1"].agreement.change(func(st *NodeStatus) { st.Leader = "" })
		sendWrites(t, stream, renew(5, "0123456789abcdef"))
		if a := answersOf(t, stream, 1); len(a[5].GetKeepAlive().GetWaitingLeaseIds()) != 1 {
			t.Errorf("without a leader: %v", a[5])
		}
	})
}

func TestWriteStreamOfAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		stream, err := n.admin().WriteStream(metadata.AppendToOutgoingContext(t.Context(), "rollcall-cluster", "9999"))
		if err == nil {
			_, err = stream.Recv()
		}
		checkError(t, err, want{codes.FailedPrecondition, rpcerror.ReasonClusterChanged, rpcerror.WrittenNo, nil, "3f9a"})
	})
}

// A node that drains answers what it has taken, and says that it took nothing else.
func TestWriteStreamOfANodeThatDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		release := make(chan struct{})
		n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			<-release
			return n.agreement.apply(cmd), nil
		})
		stream := n.openWriteStream(t, t.Context())
		for i := range uint64(10) {
			sendWrites(t, stream, streamedSet(i, "a", serving))
		}
		synctest.Wait()
		n.BeginDrain()
		synctest.Wait()
		sendWrites(t, stream, streamedSet(10, "late", serving))
		synctest.Wait()
		close(release)
		for id, r := range answersOf(t, stream, 10) {
			if r.GetSet() == nil {
				t.Errorf("%d: %v", id, r)
			}
		}
		_, err := stream.Recv()
		checkError(t, err, want{codes.Unavailable, rpcerror.ReasonStopping, rpcerror.WrittenNo, nil, "stopping"})
		if got := n.agreement.count(); got != 10 {
			t.Errorf("%d were proposed", got)
		}
		_, err = n.admin().WriteStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	})
}

// A client that does not read its answers costs bounded memory and holds up nobody.
func TestP8WriteStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, func(cfg *Config) { cfg.ClientMemory = MinClientMemory })
		c.elect("n1")
		n := c.nodes["n1"]
		ctx, cancel := context.WithCancel(t.Context())
		deaf := n.openWriteStream(t, ctx)
		// It sends for as long as the node takes anything.
		sending := make(chan int)
		go func() {
			sent := 0
			for id := uint64(0); ; sent++ {
				req := &rollcallv1.WriteStreamRequest{}
				for range 1_000 {
					id++
					req.Writes = append(req.Writes, streamedSet(id, strings.Repeat("n", 200), serving))
				}
				if deaf.Send(req) != nil {
					break
				}
			}
			sending <- sent
		}()
		time.Sleep(time.Minute)
		var used int64
		for _, b := range n.Budgets() {
			if b.Name == "change-bytes" {
				used = b.Used
			}
		}
		if used == 0 || used > MinClientMemory/16 {
			t.Errorf("%d bytes are used", used)
		}
		if got := n.agreement.count(); got > 12_000 {
			t.Errorf("%d writes were proposed for one that reads no answers", got)
		}
		if _, err := n.admin().SetServingStatus(timeout(t, time.Second), setRequest("another", serving)); quotaOf(err) != "change-bytes-per-connection" && err != nil {
			t.Errorf("a unary write on its connection: %v", err)
		}
		other := n.another(t)
		if _, err := rollcallv1.NewAdminClient(other).SetServingStatus(timeout(t, time.Second), setRequest("another", serving)); err != nil {
			t.Errorf("a write on another connection: %v", err)
		}
		cancel()
		<-sending
		synctest.Wait()
		for _, b := range n.Budgets() {
			if b.Used != 0 {
				t.Errorf("%d bytes of %s are not given back", b.Used, b.Name)
			}
		}
	})
}

// Nor does it keep the node from stopping.
func TestAStuckWriteStreamDoesNotHoldUpTheStop(t *testing.T) {
	n := single(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Node, cfg.Logger = "n1", n.log
	srv, err := New(cfg, Deps{Statuses: n.registry, Registry: n.registry, Layers: n.registry, Leases: &n.leases, Access: &n.access, Lessor: &n.lessor, Followers: n.registry, History: n.registry,
		Agreement: n.agreement, Node: n.agreement, Members: &n.members, Peers: peerFunc(nil)})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis, bufconn.Listen(bufSize)) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := patient(t)
	stream, err := rollcallv1.NewAdminClient(conn).WriteStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // and nothing more is read
		t.Fatal(err)
	}
	for id := range uint64(2_000) {
		sendWrites(t, stream, streamedSet(id, strings.Repeat("x", 200), serving))
	}
	for n.agreement.count() < 1_000 {
		runtime.Gosched()
	}
	if err := srv.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// While the log takes nothing, writes wait up to the budget; each one beyond is refused alone, and surely not written.
func TestStreamedWritesOverTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t, func(cfg *Config) { cfg.ClientMemory = MinClientMemory })
		release := make(chan struct{})
		n.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			<-release
			return n.agreement.apply(cmd), nil
		})
		stream := n.openWriteStream(t, t.Context())
		const all = 4_000
		for id := range uint64(all) {
			sendWrites(t, stream, streamedSet(id, fmt.Sprint("s", id), serving))
		}
		synctest.Wait()
		taken := n.agreement.count()
		if taken == 0 || taken == all {
			t.Fatalf("%d of %d were taken", taken, all)
		}
		refused := answersOf(t, stream, all-taken)
		for _, r := range refused {
			checkError(t, errorIn(r), want{codes.ResourceExhausted, rpcerror.ReasonLimitReached, rpcerror.WrittenNo, nil, "memory"})
		}
		close(release)
		for id, r := range answersOf(t, stream, taken) {
			if r.GetSet() == nil || refused[id] != nil {
				t.Fatalf("%d: %v", id, r)
			}
		}
		sendWrites(t, stream, streamedSet(1, "afterwards", serving))
		if a := answersOf(t, stream, 1); a[1].GetSet() == nil {
			t.Errorf("afterwards: %v", a)
		}
		stream.CloseSend()
	})
}

// What a client that goes away leaves behind is given up.
func TestWriteStreamWhoseClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := single(t)
		n.agreement.onPropose(func(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			<-ctx.Done()
			return nil, unknownErr{ctx.Err()}
		})
		ctx, cancel := context.WithCancel(t.Context())
		stream := n.openWriteStream(t, ctx)
		for id := range uint64(100) {
			sendWrites(t, stream, streamedSet(id, "a", serving))
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		for _, b := range n.Budgets() {
			if b.Used != 0 {
				t.Errorf("%d bytes of %s are not given back", b.Used, b.Name)
			}
		}
		time.Sleep(time.Minute) // the fake's goroutines end
	})
}

// FuzzWriteStream: whatever a message holds, each of its writes is answered once, or the stream ends with a reason.
func FuzzWriteStream(f *testing.F) {
	for _, writes := range [][]*rollcallv1.StreamedWrite{
		{streamedSet(1, "a", serving), streamedSet(2, "a*", serving), {Id: 3}},
		{streamedSet(1, "a", serving), streamedSet(1, "a", serving)},
		{{Id: 1, Write: &rollcallv1.StreamedWrite_Batch{Batch: &rollcallv1.BatchSetServingStatusRequest{Changes: []*rollcallv1.StatusChange{{}, {Service: "x", Status: serving.Enum()}}}}}},
		{{Id: 1, Write: &rollcallv1.StreamedWrite_Delete{Delete: &rollcallv1.DeleteServiceRequest{Service: "a"}}, Timeout: &durationpb.Duration{Seconds: -1, Nanos: 5}}},
		{{Id: 1, Write: &rollcallv1.StreamedWrite_KeepAlive{KeepAlive: &rollcallv1.KeepAliveRequest{LeaseIds: []string{"", "0123456789abcdef"}}}, Brief: true}},
	} {
		b, _ := proto.Marshal(&rollcallv1.WriteStreamRequest{Writes: writes})
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &rollcallv1.WriteStreamRequest{}
		if proto.Unmarshal(b, req) != nil || len(req.GetWrites()) > 1_000 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			n := single(t)
			stream := n.openWriteStream(t, timeout(t, time.Minute))
			sendWrites(t, stream, req.GetWrites()...)
			_ = stream.CloseSend()
			waiting := map[uint64]bool{}
			for _, w := range req.GetWrites() {
				waiting[w.GetId()] = true
			}
			for {
				res, err := stream.Recv()
				if err == io.EOF {
					break
				}
				if st := status.Convert(err); err != nil {
					if rpcerror.InfoOf(st) == nil {
						t.Fatalf("the stream ended with %v", err)
					}
					return
				}
				for _, r := range res.GetResults() {
					if !waiting[r.GetId()] {
						t.Fatalf("%d was answered twice, or never asked for", r.GetId())
					}
					delete(waiting, r.GetId())
					checkStreamedResult(t, r)
				}
			}
			if len(waiting) != 0 {
				t.Fatalf("%v are not answered", waiting)
			}
		})
	})
}

func checkStreamedResult(t *testing.T, r *rollcallv1.StreamedResult) {
	t.Helper()
	switch e := r.GetError(); {
	case r.GetResult() == nil:
		t.Fatalf("%d has neither a result nor an error", r.GetId())
	case e != nil && rpcerror.InfoOf(status.FromProto(e)) == nil && e.GetCode() != int32(codes.Unimplemented):
		t.Fatalf("%v says nothing of what became of it", e)
	}
}
