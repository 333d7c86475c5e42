package renewal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/server/peerconn"
)

// retryPause is the pause before a known leader that did not answer is asked again.
const retryPause = 100 * time.Millisecond

var (
	errNoLeader   = errors.New("no leader is known")
	errAnswer     = errors.New("the leader's answer does not fit the question")
	errTermToCome = errors.New("this node was elected, and its term has not begun")
)

// renew renews leases with whoever leads. It tries again until ctx ends.
func (r *Renewer) renew(ctx context.Context, ids []string) (lost, waiting []string, err error) {
	err = r.ask(ctx, true, func(ctx context.Context, leader *peerconn.Conn) error {
		if leader == nil {
			lost, waiting, err = r.Lessor.Renew(ctx, ids)
			return err
		}
		res, err := peerv1.NewPeerClient(leader).Renew(ctx, &peerv1.RenewRequest{LeaseIds: ids})
		lost, waiting = res.GetLostLeaseIds(), res.GetWaitingLeaseIds()
		return err
	})
	return lost, waiting, err
}

// Times asks the leader how long leases still live. It answers for each id, in the order asked. It does not wait
// for a leader if none is known, and asks again if another one is elected.
func (r *Renewer) Times(ctx context.Context, ids []string) (times []*peerv1.LeaseTime, err error) {
	for len(ids) > 0 {
		chunk := ids[:min(len(ids), limits.MaxRenewedAtOnce)]
		ids = ids[len(chunk):]
		var some []*peerv1.LeaseTime
		err := r.ask(ctx, false, func(ctx context.Context, leader *peerconn.Conn) (err error) {
			if leader == nil {
				some, err = r.Lessor.Times(chunk)
			} else {
				var res *peerv1.LeaseTimesResponse
				res, err = peerv1.NewPeerClient(leader).LeaseTimes(ctx, &peerv1.LeaseTimesRequest{LeaseIds: chunk}, grpc.WaitForReady(false))
				some = res.GetTimes()
			}
			if err == nil && len(some) != len(chunk) {
				return errAnswer
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		times = append(times, some...)
	}
	return times, nil
}

// ask calls do with the connection to the leader, or with nil if this node leads, until do succeeds or ctx ends.
// The error is the last one. If wait is false, it gives up at once when nobody leads.
func (r *Renewer) ask(ctx context.Context, wait bool, do func(ctx context.Context, leader *peerconn.Conn) error) error {
	for {
		changed := r.Agreement.Changed() // before Leader, so that no change is missed
		leader, err := r.askLeader(ctx, changed, do)
		if err == nil || !wait && leader == "" {
			return err
		}
		var pause <-chan time.Time
		if leader != "" {
			pause = time.After(retryPause)
		}
		select {
		case <-changed:
		case <-pause:
		case <-ctx.Done():
			return err
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// askLeader asks once whoever leads now. It gives up when another node may lead.
func (r *Renewer) askLeader(ctx context.Context, changed <-chan struct{}, do func(context.Context, *peerconn.Conn) error) (leader string, err error) {
	if f := r.Fence.Refusal(); f != nil {
		return "", f
	}
	leader, leading := r.Agreement.Leader()
	switch {
	case leader == "":
		return "", errNoLeader
	case leading:
		return leader, do(ctx, nil)
	case leader == r.Node:
		return leader, errTermToCome
	}
	conn, err := r.Pool.Get(leader)
	if err != nil {
		return leader, err
	}
	// A renewal that is asked for twice does no harm. So the wait for an answer may be cut short.
	ctx, done := peerconn.EndedBy(ctx, changed)
	defer done()
	if err := conn.Ready(ctx, true); err != nil {
		return leader, fmt.Errorf("leader %s cannot be reached: %s", leader, peerconn.Describe(err))
	}
	return leader, do(ctx, conn)
}
