package node

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/node/lessor"
)

// newLessor is called before the registry is loaded, which tells the lessor of leases. All else that the lessor
// uses is there when it runs.
func (n *Node) newLessor() *lessor.Lessor {
	return lessor.New(lessor.Config{
		Node: n.cfg.Name,
		Fold: leases{n},
		Leadership: func() (term uint64, ended <-chan struct{}) {
			if n.auditor.Diverged() {
				return 0, nil
			}
			return n.raft.Leadership()
		},
		Round: n.confirmLeading,
		// Leases are there only once the feature level holds them.
		Propose: n.proposeAnyLevel,
		Clock:   func() int64 { return n.raft.LogClock() },
		Now:     n.cfg.Faults.now(),
		Guard:   lessor.Guard{Min: n.cfg.LeaseGuardMin, Percent: n.cfg.LeaseGuardPercent, Max: n.cfg.LeaseGuardMax},
		Logger:  n.log,
	})
}

// leases are those of the fold, which is there before anybody asks.
type leases struct{ *Node }

func (n leases) Lease(id string) *logv1.Lease  { return n.fsm.Lease(id) }
func (n leases) LeaseReports(id string) int    { return n.fsm.LeaseReports(id) }
func (n leases) LeaseGuard() *logv1.LeaseGuard { return n.fsm.LeaseGuard() }
func (n leases) Revision() int64               { return n.fsm.Revision() }
func (n leases) ScanLeases(visit func(id string, l *logv1.Lease) bool) int64 {
	return n.fsm.ScanLeases(visit)
}
