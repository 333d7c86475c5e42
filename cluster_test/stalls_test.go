package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
)

var stalls = flag.Duration("stalls", 0, "how long TestStallsCauseNoElection runs; 0: it is skipped")

// TestStallsCauseNoElection writes as fast as it goes, to three nodes over TCP, while the disk of one
// or the other stalls for 300 ms now and then: the term must stay what it was.
func TestStallsCauseNoElection(t *testing.T) {
	if *stalls == 0 {
		t.Skip("long: -stalls=10m")
	}
	const (
		stall   = 300 * time.Millisecond
		writers = 128
	)
	var members []node.Member
	for i := range 3 {
		members = append(members, node.Member{Name: fmt.Sprintf("n%d", i+1), APIAddress: freePort(t), PeerAddress: freePort(t)})
	}
	due := make([]atomic.Bool, len(members))
	var stalled atomic.Int64
	var endpoints []string
	status := make([]rollcallv1.ClusterClient, len(members))
	dir := t.TempDir()
	for i, m := range members {
		cfg := node.DefaultConfig()
		cfg.Name, cfg.DataDir, cfg.Members = m.Name, filepath.Join(dir, m.Name), members
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
		cfg.Faults.StoreLogs = func([]*raft.Log) error {
			if due[i].CompareAndSwap(true, false) {
				stalled.Add(1)
				time.Sleep(stall)
			}
			return nil
		}
		n, err := node.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close(context.Background()) })
		conn, err := grpc.NewClient(m.APIAddress, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		status[i] = rollcallv1.NewClusterClient(conn)
		endpoints = append(endpoints, m.APIAddress)
	}
	// look returns what every node says of the term and the leader, once they agree.
	look := func() (term int64, leader string) {
		eventually(t, "all nodes with one leader", func(ctx context.Context) bool {
			var first *rollcallv1.GetStatusResponse
			for _, s := range status {
				resp, err := s.GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true}, grpc.WaitForReady(true))
				if err != nil || resp.GetLeader() == "" {
					return false
				}
				if first == nil {
					first = resp
				}
				if resp.GetTerm() != first.GetTerm() || resp.GetLeader() != first.GetLeader() {
					return false
				}
			}
			term, leader = int64(first.GetTerm()), first.GetLeader()
			return true
		})
		return term, leader
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var acked, failed atomic.Int64
	for w := range writers {
		ccfg := client.DefaultConfig()
		ccfg.Endpoints = endpoints[w%3 : w%3+1] // a third each, the leader's own included
		cl, err := client.New(ccfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s := serving
				if i%2 == 0 {
					s = notServing
				}
				if _, err := cl.Set(ctx, fmt.Sprintf("load/%d", w), s, client.WriteOptions{}); err == nil {
					acked.Add(1)
				} else if ctx.Err() == nil {
					failed.Add(1)
				}
			}
		})
	}
	eventually(t, "load", func(context.Context) bool { return acked.Load() > 1000 })
	term, leader := look()
	begin := time.Now()
	end := time.After(*stalls)
	for going := true; going; {
		for i := range due {
			due[i].Store(rand.IntN(3) == 0)
		}
		select {
		case <-time.After(stall + time.Duration(rand.Int64N(int64(2*time.Second)))):
		case <-end:
			going = false
		}
	}
	nowTerm, nowLeader := look()
	took := time.Since(begin)
	t.Logf("%d writes acknowledged in %s (%.0f/s), %d failed; %d stalls of %s; term %d, leader %s",
		acked.Load(), took.Round(time.Second), float64(acked.Load())/took.Seconds(), failed.Load(), stalled.Load(), stall, nowTerm, nowLeader)
	if nowTerm != term {
		t.Errorf("leader %s of term %d, was %s of term %d", nowLeader, nowTerm, leader, term)
	}
	if stalled.Load() == 0 {
		t.Error("no stalls")
	}
}
