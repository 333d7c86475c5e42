package node

import (
	"context"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/node/audit"
	"github.com/rollcallhq/rollcall/node/expiry"
	"github.com/rollcallhq/rollcall/node/featurelevel"
	"github.com/rollcallhq/rollcall/node/retention"
	"github.com/rollcallhq/rollcall/server"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// This file says what each room is given of the others, and holds the adapters that need no file of their
// own.

func (n *Node) agreement() agreement {
	return agreement{n.cfg.Name, n.raft, n.fsm, n.levels, n.lessor, &n.confirmations}
}

func (n *Node) proposeAnyLevel(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	return n.agreement().propose(ctx, cmd)
}

func (n *Node) confirmLeading(ctx context.Context) error { return n.server.ConfirmLeading(ctx) }

// deps are the rooms behind the server.
func (n *Node) deps() server.Deps {
	return server.Deps{
		Statuses:  n.fsm,
		Registry:  folded{n.fsm},
		Layers:    n.fsm,
		Leases:    n.fsm,
		Access:    accessOf{n.fsm},
		Lessor:    n.lessor,
		Followers: folded{n.fsm},
		History:   folded{n.fsm},
		Agreement: n.agreement(),
		Peers:     n.raft,
		Members:   clusterMembers{n},
		Node:      source{n},
		LogClock:  n.raft.LogClock,
		Replica:   replica{n.fsm, n.auditor},
		Exporter:  exporter{n},
		Storage:   n.storage,
	}
}

// exporter makes backups of the registry file.
type exporter struct{ *Node }

func (e exporter) ExportSnapshot(ctx context.Context) (server.Snapshot, error) {
	return e.registryFile.Export(ctx)
}

// replica is what this node can prove of its registry.
type replica struct {
	*fsm.FSM
	*audit.Auditor
}

// auditParts are there once the server is made.
func (n *Node) auditParts() audit.Parts {
	return audit.Parts{
		Fold:         n.fsm,
		Raft:         n.raft,
		Server:       n.server,
		RegistryFile: n.registryFile,
		Snapshots:    n.snapshots,
		Quarantine:   n.directory.QuarantineRegistry,
	}
}

func (n *Node) newCompactor() *retention.Compactor {
	return retention.New(retention.Config{
		Node:         n.cfg.Name,
		Events:       n.cfg.HistoryEvents,
		Age:          n.cfg.HistoryAge,
		RegistryFile: n.registryFile,
		Horizon:      n.fsm.Horizon,
		Leading:      n.leading,
		Propose:      n.agreement().Propose,
		LogClock:     n.raft.RetentionClock,
		Started:      n.loaded,
		LogTime:      n.loadedLogTime,
		Logger:       n.log,
	})
}

func (n *Node) newExpirer() *expiry.Expirer {
	return expiry.New(expiry.Config{
		Node:    n.cfg.Name,
		Due:     n.fsm.DueOverrides,
		Clock:   n.raft.LogClock,
		Term:    func() uint64 { return n.raft.Status().Term },
		Leading: n.leading,
		Propose: n.agreement().Propose,
		Logger:  n.log,
	})
}

// newLevelMonitor is called once raft is open.
func (n *Node) newLevelMonitor() *featurelevel.Monitor {
	return featurelevel.New(featurelevel.Config{
		Node: n.cfg.Name,
		Fold: n.fsm,
		Members: func() []string {
			s := n.raft.Status()
			return append(s.Voters, s.NonVoters...)
		},
		PeerLevel:   n.raft.PeerLevel,
		Leading:     n.leading,
		Propose:     n.proposeAnyLevel,
		RefusalText: rpcerror.RefusalText,
		Logger:      n.log,
	})
}

// leading says whether this node leads and its registry is the cluster's.
func (n *Node) leading() bool {
	_, leading := n.raft.Leader() // and not Status: this is asked ten times a second
	return leading && !n.auditor.Diverged()
}
