package fsm

import (
	"fmt"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const (
	leaseA = "a00000000000000a"
	leaseB = "b00000000000000b"
	leaseC = "0000000000000000"
)

func leaseCommand(c *logv1.LeaseCommand) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_LEASE, c)
}

func granting(g *logv1.GrantLease) *logv1.Command {
	return leaseCommand(&logv1.LeaseCommand{Command: &logv1.LeaseCommand_Grant{Grant: g}})
}

// grantOf grants a lease of ten seconds, after which its reports are NOT_SERVING.
func grantOf(id string) *logv1.Command {
	return granting(&logv1.GrantLease{LeaseId: id, Ttl: int64(10 * time.Second), OnExpiry: notServing})
}

// grantForgetting also has what it leaves forgotten.
func grantForgetting(id string, after int64) *logv1.Command {
	return granting(&logv1.GrantLease{LeaseId: id, Ttl: int64(10 * time.Second), OnExpiry: notServing, ForgetAfter: after})
}

func revoking(c *logv1.RevokeLease) *logv1.Command {
	return leaseCommand(&logv1.LeaseCommand{Command: &logv1.LeaseCommand_Revoke{Revoke: c}})
}

func revoke(id string) *logv1.Command { return revoking(&logv1.RevokeLease{LeaseId: id}) }

// leased is a change that names a lease.
func leased(name string, st logv1.Status, lease string) *logv1.Change {
	return &logv1.Change{Service: name, Status: st, LeaseId: lease}
}

// expireLeases is what a leader of term 1 proposes of leases that it has seen at a revision.
func expireLeases(seen int64, ids ...string) *logv1.Command {
	x := &logv1.Expire{Term: 1}
	for _, id := range ids {
		x.Leases = append(x.Leases, &logv1.ExpiredLease{LeaseId: id, SeenRevision: seen})
	}
	return &logv1.Command{Actor: &logv1.Actor{Name: "node n1"}, Reason: "lease expired", Kind: &logv1.Command_Expire{Expire: x}}
}

func forgetLeases(ids ...string) *logv1.Command {
	return &logv1.Command{Actor: &logv1.Actor{Name: "node n1"}, Reason: "forgotten", Kind: &logv1.Command_Expire{Expire: &logv1.Expire{Term: 1, ForgottenLeases: ids}}}
}

func hold(c *logv1.HoldLeases) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_HoldLeases{HoldLeases: c}}
}

func releaseGuard() *logv1.Command {
	return recordCommand(logv1.Kind_KIND_LEASE_GUARD, &logv1.LeaseGuardCommand{})
}

// attachedTo returns the names of what is attached to a lease, as the index has it.
func (h *harness) attachedTo(id string) (names []string) {
	h.state.attached.Ascend(id, func(r attachedReport) bool {
		names = append(names, r.Value.name)
		return true
	})
	return names
}

// leaseText is a lease in short.
func leaseText(l *logv1.Lease) string {
	if l == nil {
		return "none"
	}
	e := l.GetEnd()
	if e == nil {
		return "lives"
	}
	return fmt.Sprintf("ended at %d by revision %d, done %v, forgotten at %d", e.Time, e.Revision, e.Done, e.ForgetTime)
}
