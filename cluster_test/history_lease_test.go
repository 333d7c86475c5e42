package cluster_test

import (
	"context"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// expiredReason is what the events of an expiry say.
const expiredReason = "lease expired"

// leaseBook is the leases of a history. Its mu guards it.
type leaseBook struct {
	granted []grantedLease  // lease n is the one at n-1
	numbers map[string]int  // by id
	seen    map[int64]int64 // when the first follower was given an event, by its revision, on the history's clock
	expired int
	kept    int // renewals by KeepAlive that were acknowledged
}

type grantedLease struct {
	id      string // "": not known
	call    int    // number of the call that grants it
	begin   int64  // of that call
	deletes bool   // its end deletes what is attached
	ttl     time.Duration
}

func newLeaseBook() leaseBook {
	return leaseBook{numbers: map[string]int{}, seen: map[int64]int64{}}
}

// begin completes a call that begins.
func (b *leaseBook) begin(in *input, now int64) {
	switch in.kind {
	case kindGrant:
		n := len(b.granted) + 1
		b.granted = append(b.granted, grantedLease{
			call: in.number, begin: now, deletes: n%4 == 0, ttl: time.Second + time.Duration(n%5)*500*time.Millisecond,
		})
		in.lease = n
	case kindRevoke:
		in.endings = []leaseEnding{{in.lease, b.granted[in.lease-1].deletes}}
	}
}

func (h *history) leaseOf(n int) grantedLease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leases.granted[n-1]
}

// leaseID is the id of a lease; "" of 0.
func (h *history) leaseID(n int) string {
	if n == 0 {
		return ""
	}
	return h.leaseOf(n).id
}

// leaseNumber is 0 for an id that nobody was given.
func (h *history) leaseNumber(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leases.numbers[id]
}

// tells reads a report.
func (h *history) tells(report *rollcallv1.Report, out *output) {
	out.outcome, out.revision = mismatch, report.GetRevision()
	if id := report.GetLeaseId(); id != "" {
		out.lease = h.leaseNumber(id)
		out.wrong = out.lease == 0
	}
	switch reason := report.GetReason(); {
	case reason == expiredReason:
		out.writer = expiredWriter
	case report != nil:
		writer, err := strconv.Atoi(reason)
		out.writer, out.wrong = writer, out.wrong || err != nil
	}
}

// named picks the lease that a write names.
func (c *historyClient) named() int {
	switch n := c.rng.IntN(100); {
	case n < 50:
		return c.lease
	case n < 55:
		return c.past
	}
	return 0
}

// ofLease picks a call about the client's lease: n is 80 to 99.
func (c *historyClient) ofLease(n int) input {
	switch {
	case c.lease == 0 && c.h.mayGrant():
		return input{kind: kindGrant}
	case c.lease == 0:
		return input{kind: kindRead}
	case n < 93:
		return input{kind: kindKeepAlive, lease: c.lease}
	case n < 95:
		return input{kind: kindRevoke, lease: c.lease}
	case n < 97: // as a reporter that dies
		c.past, c.lease = c.lease, 0
		return input{kind: kindRead}
	case c.past != 0:
		return input{kind: kindKeepAlive, lease: c.past}
	}
	return input{kind: kindKeepAlive, lease: c.lease}
}

// beLate renews the lease, and again about when it expires, by a write.
func (c *historyClient) beLate(wait func(time.Duration)) {
	lease := c.lease
	if c.call(input{kind: kindKeepAlive, lease: lease}) != acknowledged {
		return
	}
	wait(c.h.leaseOf(lease).ttl + time.Duration(c.rng.IntN(int(120*time.Millisecond))))
	c.call(input{kind: kindSet, service: c.rng.IntN(historyServices), lease: lease})
}

func (h *history) mayGrant() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.leases.granted) < maxHistoryLeases-10 // as many as there are clients may grant at once
}

// sendOfLease makes a call about a lease.
func (c *historyClient) sendOfLease(ctx context.Context, in input, o client.WriteOptions) (out output, err error) {
	l := c.h.leaseOf(in.lease)
	o.LeaseID = ""
	switch in.kind {
	case kindGrant:
		lease := client.LeaseOptions{TTL: l.ttl}
		if l.deletes {
			lease.OnExpiry = noService.Enum()
		}
		var res, e = c.cl.GrantLease(ctx, lease, o)
		if err = e; err == nil {
			out.revision = res.GetRevision()
			out.wrong = res.GetLeaseId() == "" || res.GetTtl().AsDuration() != l.ttl
			c.h.mu.Lock()
			c.h.leases.granted[in.lease-1].id, c.h.leases.numbers[res.GetLeaseId()] = res.GetLeaseId(), in.lease
			c.h.mu.Unlock()
		}
	case kindRevoke:
		c.h.record.revoking(l.id, time.Now())
		var res, e = c.cl.RevokeLease(ctx, l.id, client.RevokeOptions{}, o)
		if err = e; err == nil {
			out.revision = res.GetRevision()
			out.wrong = res.GetEnding()
		}
	case kindKeepAlive:
		var answer *rollcallv1.KeepAliveResponse
		answer, err = keepAlive(ctx, c.conns[c.rng.IntN(len(c.conns))], l.id)
		switch {
		case err != nil:
			out.outcome, err = unknownOutcome, nil
		case slices.Contains(answer.GetRenewedLeaseIds(), l.id):
		case slices.Contains(answer.GetLostLeaseIds(), l.id):
			out.outcome = lost
		default:
			out.outcome = unknownOutcome
			out.wrong = !slices.Contains(answer.GetWaitingLeaseIds(), l.id)
		}
	}
	return out, err
}

// keepAlive renews leases once.
func keepAlive(ctx context.Context, conn *grpc.ClientConn, ids ...string) (*rollcallv1.KeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := rollcallv1.NewAdminClient(conn).KeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&rollcallv1.KeepAliveRequest{LeaseIds: ids}); err != nil {
		return nil, err
	}
	return stream.Recv()
}

// noteLease notes what a call says about a lease, for P10. It is called with the history's mu held.
func (c *historyClient) noteLease(in input, out output, sent time.Time) {
	if in.lease == 0 {
		return
	}
	l, now := c.h.leases.granted[in.lease-1], time.Now()
	switch {
	case in.kind == kindGrant && out.outcome == acknowledged:
		c.h.record.granted(l.id, l.ttl, sent, now)
		c.lease = in.lease
	case in.kind == kindGrant:
	case out.outcome == lost:
		c.h.record.answeredLost(l.id, now)
		if c.lease == in.lease {
			c.past, c.lease = in.lease, 0
		}
	case in.kind == kindRevoke:
		if out.outcome == acknowledged {
			c.h.record.revoked(l.id, now)
		}
		c.past, c.lease = in.lease, 0
	case out.outcome == acknowledged:
		c.h.record.renewed(l.id, sent, now)
		if in.kind == kindKeepAlive {
			c.h.leases.kept++
		}
	default:
		c.h.record.attempted(l.id, now)
	}
}

// follow notes what a node's followers are given, and when, until ctx ends.
func (h *history) follow(ctx context.Context, cl *client.Client) error {
	for b, err := range cl.WatchEvents(ctx, client.WatchEventsOptions{From: h.base + 1}) {
		if err != nil {
			return err
		}
		now := time.Now()
		h.mu.Lock()
		h.clock++
		for _, e := range b.Events {
			h.record.saw(e, now)
			if _, known := h.leases.seen[e.GetRevision()]; !known {
				h.leases.seen[e.GetRevision()] = h.clock
			}
		}
		h.mu.Unlock()
	}
	return nil
}
