package workaround

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type nothingFSM struct{}

func (nothingFSM) Apply(*raft.Log) any                 { return nil }
func (nothingFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (nothingFSM) Restore(r io.ReadCloser) error       { return r.Close() }

// A member of two whose other one is away: it never leads by itself. LastEntry tells its log, and TimeoutNow
// makes it stand for election at once.
func TestLastEntryAndTimeoutNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := raft.DefaultConfig()
		cfg.LocalID, cfg.Logger = "n1", hclog.NewNullLogger()
		_, trans := raft.NewInmemTransport("n1")
		rpcs := make(chan raft.RPC)
		store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		own := offering{trans, rpcs}
		members := raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}, {ID: "n2", Address: "n2"}}}
		if err := raft.BootstrapCluster(cfg, store, store, snapshots, own, members); err != nil {
			t.Fatal(err)
		}
		for i := uint64(2); i <= 5; i++ {
			if err := store.StoreLog(&raft.Log{Index: i, Term: 1 + i/4, Type: raft.LogNoop}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := raft.NewRaft(cfg, nothingFSM{}, store, store, snapshots, own)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := r.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		}()
		if term, logTerm, logIndex := LastEntry(r); term != 1 || logTerm != 2 || logIndex != 5 {
			t.Errorf("term %d, last entry %d of term %d; want 1, 5 of 2", term, logIndex, logTerm)
		}
		begin := time.Now()
		rpcs <- TimeoutNow("n1")
		for r.State() != raft.Candidate {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait() // the state comes before the term
		if took := time.Since(begin); took > 100*time.Millisecond || r.CurrentTerm() != 2 {
			t.Errorf("a candidate of term %d after %s; want term 2 at once", r.CurrentTerm(), took)
		}
	})
}

// offering is a transport over which only the test sends.
type offering struct {
	*raft.InmemTransport
	rpcs chan raft.RPC
}

func (o offering) Consumer() <-chan raft.RPC { return o.rpcs }
