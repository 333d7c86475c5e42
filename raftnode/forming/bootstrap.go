package forming

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
)

// Bootstrap writes the first configuration, all first members as voters, into an empty raft log. A
// log that has been used it leaves alone.
//
// raft.BootstrapCluster stores the term, then the entry. A crash between the two leaves a log that
// raft takes for used but that has no configuration and never would get one, as nobody else has it
// either: term 1 and nothing else can only mean that, as the first election is of term 2.
func Bootstrap(cfg *raft.Config, log *raftlog.Log, snaps raft.SnapshotStore, trans raft.Transport, f *store.Founding) error {
	last, err := log.LastIndex()
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	snapshots, err := snaps.List()
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	term, err := log.GetUint64([]byte("CurrentTerm"))
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if last > 0 || len(snapshots) > 0 || term > 1 {
		return nil
	}
	var servers raft.Configuration
	for _, m := range f.Members {
		servers.Servers = append(servers.Servers, raft.Server{
			Suffrage: raft.Voter,
			ID:       raft.ServerID(m.Name),
			Address:  raft.ServerAddress(m.Name),
		})
	}
	if term == 1 {
		err = log.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers)})
	} else {
		err = raft.BootstrapCluster(cfg, log, log, snaps, trans, servers)
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}
