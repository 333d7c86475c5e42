package lessor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a log, its fold, and the leadership of one node. Commands are applied at once, or when the test says.
type cluster struct {
	t   *testing.T
	l   *Lessor
	log syncBuffer // of l

	mu       sync.Mutex // guards the rest
	term     uint64     // of the entries to come
	leads    chan struct{}
	revision int64
	leases   map[string]*logv1.Lease
	attached map[string]int64 // newest revision of what is attached
	empty    map[string]bool  // leases that have no reports; all others have one
	guard    *logv1.LeaseGuard
	proposed []*logv1.Command
	ended    map[string]time.Time
	skew     time.Duration // of the cluster's clock
	paused   time.Duration // what the monotonic clock has leapt
	rounds   int
	noQuorum bool
	slow     time.Duration // the next round takes so long
	within   func()        // happens within the next round, which is then answered all the same

	// propose stands between the proposer and the log: it calls apply, or not, and returns what the proposer hears.
	propose func(ctx context.Context, cmd *logv1.Command, apply func() *logv1.Result) (*logv1.Result, error)
}

var errUnknown = errors.New("nobody knows what became of it")

type surelyNot struct{ error }

func (surelyNot) NotWritten() bool { return true }

// inBubble runs test with a Lessor whose node leads in term 1 and has some leases of 10 s.
func inBubble(t *testing.T, leases int, test func(t *testing.T, c *cluster)) {
	t.Helper()
	inBubbleWith(t, leases, Guard{Min: 10, Percent: 50, Max: time.Hour}, test)
}

func inBubbleWith(t *testing.T, leases int, guard Guard, test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, guard)
		for i := range leases {
			c.grant(id(i), 10*time.Second)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { c.l.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		c.lead(1)
		test(t, c)
	})
}

func newCluster(t *testing.T, guard Guard) *cluster {
	c := &cluster{t: t, leases: map[string]*logv1.Lease{}, attached: map[string]int64{}, ended: map[string]time.Time{}, empty: map[string]bool{}}
	c.l = New(Config{
		Node:       "n1",
		Fold:       c,
		Leadership: c.leadership,
		Round:      c.round,
		Propose:    c.proposeFor,
		Clock: func() int64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return time.Now().Add(c.skew).UnixNano()
		},
		Now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return time.Now().Add(c.paused)
		},
		Guard:  guard,
		Logger: slog.New(slog.NewTextHandler(&c.log, nil)),
	})
	return c
}

// LeaseReports implements Fold.
func (c *cluster) LeaseReports(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.empty[id] {
		return 0
	}
	return 1
}

// syncBuffer is a buffer that is read while it is written to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func id(i int) string { return fmt.Sprintf("%016x", i) }

// lead begins a leadership of this node, 0 ends it.
func (c *cluster) lead(term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leads != nil {
		close(c.leads)
		c.leads = nil
	}
	if term > 0 {
		c.term, c.leads = term, make(chan struct{})
	}
}

func (c *cluster) leadership() (uint64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leads == nil {
		return 0, nil
	}
	return c.term, c.leads
}

func (c *cluster) round(ctx context.Context) error {
	c.mu.Lock()
	c.rounds++
	leads, no, slow, within := c.leads, c.noQuorum, c.slow, c.within
	c.slow, c.within = 0, nil
	c.mu.Unlock()
	if within != nil {
		within()
		return nil
	}
	if leads == nil {
		return errors.New("no leader")
	}
	if no {
		select {
		case <-leads:
		case <-ctx.Done():
		}
		return errors.New("no quorum")
	}
	time.Sleep(time.Millisecond + slow)
	select {
	case <-leads:
		return errors.New("no leader")
	default:
		return nil
	}
}

func (c *cluster) proposeFor(ctx context.Context, cmd *logv1.Command) (*logv1.Result, error) {
	c.mu.Lock()
	c.proposed = append(c.proposed, proto.CloneOf(cmd))
	hook := c.propose
	c.mu.Unlock()
	apply := func() *logv1.Result { return c.apply(cmd) }
	if hook != nil {
		return hook(ctx, cmd, apply)
	}
	time.Sleep(2 * time.Millisecond)
	return apply(), nil
}

// apply folds a command, as far as leases go.
func (c *cluster) apply(cmd *logv1.Command) *logv1.Result {
	c.mu.Lock()
	var changed []string
	defer func() {
		c.mu.Unlock()
		for _, id := range changed {
			c.l.OnLease(id, nil)
		}
	}()
	stale := &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_STALE}}
	switch kind := cmd.GetKind().(type) {
	case *logv1.Command_HoldLeases:
		h := kind.HoldLeases
		if h.GetTerm() != c.term {
			return stale
		}
		c.revision++
		c.guard = &logv1.LeaseGuard{Engaged: h.GetEngaged(), Time: time.Now().Add(c.skew).UnixNano(), Revision: c.revision, Late: h.GetLate(), Live: h.GetLive()}
	case *logv1.Command_Expire:
		if kind.Expire.GetTerm() != c.term {
			return stale
		}
		for _, x := range kind.Expire.GetLeases() {
			if l := c.leases[x.GetLeaseId()]; l != nil && (l.GetEnd() != nil || max(c.attached[x.GetLeaseId()], l.GetRevision()) <= x.GetSeenRevision()) {
				c.revision++
				delete(c.leases, x.GetLeaseId())
				c.ended[x.GetLeaseId()] = time.Now()
				changed = append(changed, x.GetLeaseId())
			}
		}
		for _, id := range kind.Expire.GetForgottenLeases() {
			delete(c.leases, id)
			changed = append(changed, id)
		}
	}
	return &logv1.Result{}
}

func (c *cluster) grant(id string, ttl time.Duration) {
	c.mu.Lock()
	c.revision++
	c.leases[id] = &logv1.Lease{Ttl: int64(ttl), Revision: c.revision}
	c.mu.Unlock()
	c.l.OnLease(id, nil)
}

// put sets the record of a lease; nil deletes it.
func (c *cluster) put(id string, l *logv1.Lease) {
	c.mu.Lock()
	c.revision++
	if l == nil {
		delete(c.leases, id)
	} else {
		c.leases[id] = l
	}
	c.mu.Unlock()
	c.l.OnLease(id, nil)
}

// attach applies a write that names a lease: false if the lease does not live.
func (c *cluster) attach(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.leases[id]; l == nil || l.GetEnd() != nil {
		return false
	}
	c.revision++
	c.attached[id] = c.revision
	return true
}

func (c *cluster) Lease(id string) *logv1.Lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leases[id]
}

func (c *cluster) LeaseGuard() *logv1.LeaseGuard {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.guard
}

func (c *cluster) Revision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revision
}

func (c *cluster) ScanLeases(visit func(string, *logv1.Lease) bool) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, l := range c.leases {
		if !visit(id, l) {
			break
		}
	}
	return c.revision
}

func (c *cluster) live() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, l := range c.leases {
		if l.GetEnd() == nil {
			n++
		}
	}
	return n
}

func (c *cluster) commands() []*logv1.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.proposed)
}

func (c *cluster) endOf(id string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[id]
}

// set changes what mu guards.
func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// renew wants all to be renewed.
func (c *cluster) renew(ids ...string) {
	c.t.Helper()
	if lost, waiting, err := c.l.Renew(c.t.Context(), ids); err != nil || len(lost)+len(waiting) > 0 {
		c.t.Errorf("renew: lost %v, waiting %v, %v", lost, waiting, err)
	}
}

// renewing renews leases again and again until the returned function is called.
func (c *cluster) renewing(every time.Duration, ids ...string) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			wait := time.NewTimer(every * time.Duration(i) / time.Duration(len(ids)))
			for {
				select {
				case <-wait.C:
				case <-ctx.Done():
					return
				}
				_, _, _ = c.l.Renew(ctx, []string{id})
				wait.Reset(every)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func idsUpTo(n int) (all []string) {
	for i := range n {
		all = append(all, id(i))
	}
	return all
}
