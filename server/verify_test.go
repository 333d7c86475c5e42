package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestVerify(t *testing.T) {
	at := func(index uint64, version uint32, hash string) *logv1.StateHash {
		return &logv1.StateHash{Version: version, Index: index, Hash: []byte(hash)}
	}
	for _, tt := range []struct {
		name   string
		others [2]*logv1.StateHash // of n2 and n3; n1 holds "a" of entry 7
		down   string
		agree  bool
		want   string
	}{
		{name: "all the same", others: [2]*logv1.StateHash{at(7, 1, "a"), at(7, 1, "a")}, agree: true, want: "all 3 members hold the same registry after log entry 7"},
		{name: "one differs", others: [2]*logv1.StateHash{at(7, 1, "a"), at(7, 1, "b")}, want: "the registry of n3 is not what n1 and n2 hold"},
		{name: "the asked one differs", others: [2]*logv1.StateHash{at(7, 1, "b"), at(7, 1, "b")}, want: "the registry of n1 is not what n2 and n3 hold"},
		{name: "all differ", others: [2]*logv1.StateHash{at(7, 1, "b"), at(7, 1, "c")}, want: "no majority"},
		{name: "one is down", others: [2]*logv1.StateHash{at(7, 1, "a"), at(7, 1, "a")}, down: "n3", want: "n1 and n2 hold the same registry after log entry 7 (revision 7); n3 could not be compared"},
		{name: "one is behind", others: [2]*logv1.StateHash{at(7, 1, "a"), at(6, 1, "a")}, want: "n3 could not be compared"},
		{name: "one forgot", others: [2]*logv1.StateHash{at(7, 1, "a"), at(9, 1, "a")}, want: "n3 could not be compared"},
		{name: "of another version", others: [2]*logv1.StateHash{at(7, 1, "a"), at(7, 2, "a")}, want: "cannot be compared"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 3)
				c.elect("n1")
				for name, hash := range map[string]*logv1.StateHash{"n1": at(7, 1, "a"), "n2": tt.others[0], "n3": tt.others[1]} {
					r := &c.nodes[name].replica
					r.mu.Lock()
					r.hashes = map[uint64]*logv1.StateHash{hash.Index: hash}
					r.mu.Unlock()
				}
				if tt.down != "" {
					c.refuseDials(tt.down, errRefused)
				}
				res, err := c.nodes["n1"].cluster().Verify(context.Background(), &rollcallv1.VerifyRequest{}, grpc.WaitForReady(true))
				if err != nil {
					t.Fatal(err)
				}
				if res.GetAgree() != tt.agree || !strings.Contains(res.GetVerdict(), tt.want) || res.GetIndex() != 7 || len(res.GetMembers()) != 3 {
					t.Errorf("answer %v, want %v, %q", res, tt.agree, tt.want)
				}
			})
		})
	}
}

// fakeExporter makes snapshots of what is in it.
type fakeExporter struct {
	content []byte
	err     error
	closed  chan struct{} // receives when one is
}

type fakeSnapshot struct{ *fakeExporter }

func (e *fakeExporter) ExportSnapshot(context.Context) (Snapshot, error) {
	if e.err != nil {
		return nil, e.err
	}
	return fakeSnapshot{e}, nil
}

func (s fakeSnapshot) Size() int64 { return int64(len(s.content)) }

func (s fakeSnapshot) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, bytes.NewReader(s.content))
}

func (s fakeSnapshot) Close() error {
	s.closed <- struct{}{}
	return nil
}

// TestExportSnapshot: all of it, told with its size; one at a time; and closed however it ends.
func TestExportSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestCluster(t, 1).nodes["n1"]
		exporter := &n.exporter
		exporter.content, exporter.closed = bytes.Repeat([]byte("rollcall"), 1<<18), make(chan struct{}, 10)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		open := func(ctx context.Context) (grpc.ServerStreamingClient[rollcallv1.ExportSnapshotResponse], *rollcallv1.ExportSnapshotResponse, error) {
			stream, err := n.cluster().ExportSnapshot(ctx, &rollcallv1.ExportSnapshotRequest{}, grpc.WaitForReady(true))
			if err != nil {
				return nil, nil, err
			}
			m, err := stream.Recv()
			return stream, m, err
		}
		slow, first, err := open(ctx)
		if err != nil || first.GetTotalBytes() != int64(len(exporter.content)) {
			t.Fatalf("first message of %d bytes, %v", first.GetTotalBytes(), err)
		}
		if _, _, err := open(ctx); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a second one: %v", err)
		}
		received := append([]byte{}, first.GetChunk()...)
		for {
			m, err := slow.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			received = append(received, m.GetChunk()...)
		}
		if !bytes.Equal(received, exporter.content) {
			t.Errorf("received %d bytes, not what was exported", len(received))
		}
		<-exporter.closed

		leaving, leave := context.WithCancel(ctx)
		if _, _, err := open(leaving); err != nil {
			t.Fatal(err)
		}
		leave()
		<-exporter.closed
		synctest.Wait()
		exporter.err = errors.New("disk full")
		if _, _, err := open(ctx); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("a disk that is full: %v", err)
		}
		exporter.err = nil
		if _, _, err := open(ctx); err != nil { // left unread when the node stops
			t.Error(err)
		}
	})
}
