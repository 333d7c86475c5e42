package workaround

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func configuration(names ...raft.ServerID) []byte {
	var c raft.Configuration
	for _, name := range names {
		c.Servers = append(c.Servers, raft.Server{ID: name, Address: raft.ServerAddress(name)})
	}
	return raft.EncodeConfiguration(c)
}

// TestConfigurationLog opens raft on a log whose last entry is a configuration that is then cut off.
func TestConfigurationLog(t *testing.T) {
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.Logger = "n1", hclog.NewNullLogger()
	_, trans := raft.NewInmemTransport("n1")
	store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	entry := func(index uint64, kind raft.LogType, data []byte) *raft.Log {
		return &raft.Log{Index: index, Term: 1, Type: kind, Data: data}
	}
	if err := store.StoreLogs([]*raft.Log{
		entry(1, raft.LogConfiguration, configuration("n1", "n2")),
		entry(2, raft.LogNoop, nil),
		entry(3, raft.LogConfiguration, configuration("n1", "n2", "n3")),
		entry(4, raft.LogNoop, nil),
		entry(5, raft.LogConfiguration, configuration("n1", "n2", "n3", "n4")),
	}); err != nil {
		t.Fatal(err)
	}
	if err := store.SetUint64([]byte("CurrentTerm"), 1); err != nil {
		t.Fatal(err)
	}
	log := NewConfigurationLog(store, snapshots)
	r, err := raft.NewRaft(cfg, nothingFSM{}, log, store, snapshots, trans)
	if err != nil {
		t.Fatal(err)
	}
	log.Loaded()
	// What this package is for: raft does not tell.
	if got := r.GetConfiguration().Index(); got != 0 {
		t.Errorf("raft tells that its configuration is of entry %d: this workaround is not needed any more", got)
	}
	if err := r.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}
	is := func(what string, want uint64) {
		t.Helper()
		if got, err := log.Index(); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", what, got, err, want)
		}
	}
	is("loaded", 5)
	earlier := func(commit uint64, want ...int) {
		t.Helper()
		var got []int
		for _, s := range log.Earlier(commit) {
			if s.ID == "n1" {
				got = append(got, 0)
			}
			got[len(got)-1]++
		}
		if !slices.Equal(got, want) {
			t.Errorf("committed up to %d: earlier configurations of %v servers, want %v", commit, got, want)
		}
	}
	earlier(4, 3)
	earlier(3, 3)
	earlier(2, 3, 2)
	earlier(0, 3, 2)
	var e raft.Log
	cut := func(first, last uint64) {
		t.Helper()
		if err := log.DeleteRange(first, last); err != nil {
			t.Fatal(err)
		}
	}
	cut(4, 5)
	is("the newest is cut off", 3)
	cut(1, 1)
	is("the oldest is compacted away", 3)
	if err := log.StoreLogs([]*raft.Log{entry(4, raft.LogNoop, nil), entry(5, raft.LogConfiguration, configuration("n1"))}); err != nil {
		t.Fatal(err)
	}
	is("another one came", 5)
	if log.Committed(4) || !log.Committed(5) {
		t.Error("the configuration of entry 5 is committed when that is")
	}
	if err := log.StoreLog(entry(6, raft.LogConfiguration, configuration("n1", "n2"))); err != nil {
		t.Fatal(err)
	}
	is("and one alone", 6)
	cut(6, 6)
	if err := log.GetLog(3, &e); err != nil {
		t.Fatal(err)
	}
	cut(2, 5)
	is("none is left", 0)
	if !log.Committed(0) {
		t.Error("the configuration of a snapshot is not committed")
	}
	if err := log.GetLog(3, &e); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, 9, 1, raft.DecodeConfiguration(configuration("n1", "n2", "n3", "n4")), 7, trans)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, "x"); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	is("a snapshot came", 7)
	if err := log.StoreLog(entry(10, raft.LogConfiguration, configuration("n1", "n2"))); err != nil {
		t.Fatal(err)
	}
	earlier(9, 4)
	cut(10, 10)
	if log.IsMonotonic() {
		t.Error("it is monotonic, unlike what it wraps")
	}
	log.LogStore = failingLog{store}
	if err := log.StoreLog(entry(10, raft.LogConfiguration, configuration("n1"))); err == nil {
		t.Error("an error is lost")
	}
	is("what could not be stored", 7)
}

// failingLog cannot store.
type failingLog struct{ *raft.InmemStore }

func (failingLog) StoreLogs([]*raft.Log) error { return errors.New("disk full") }
