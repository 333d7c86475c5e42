package server

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestWritesAreTimedFromTheirRequestOn: a client that is slow to send its request is no slow write. What was
// tried or never proposed is none either.
func TestWritesAreTimedFromTheirRequestOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var took []time.Duration
		n := single(t, func(cfg *Config) {
			cfg.OnWrite = func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, d)
			}
		})
		ctx := timeout(t, time.Minute)
		call, err := n.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, rollcallv1.Admin_SetServingStatus_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if err := call.SendMsg(setRequest("svc", serving)); err != nil {
			t.Fatal(err)
		}
		if err := call.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := call.RecvMsg(new(rollcallv1.SetServingStatusResponse)); err != nil {
			t.Fatal(err)
		}
		_, _ = n.admin().SetServingStatus(ctx, setRequest("", serving))
		_, _ = n.admin().SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "svc", Status: notServing.Enum(), ValidateOnly: true})
		n.agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "", false })
		_, _ = n.admin().SetServingStatus(timeout(t, time.Second), setRequest("svc", notServing))
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(took) != 2 || took[0] != 0 || took[1] < 500*time.Millisecond || took[1] > time.Second {
			t.Errorf("writes took %v; want none, and about a second without a leader", took)
		}
	})
}
