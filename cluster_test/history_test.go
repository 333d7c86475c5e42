package cluster_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

var (
	histories   = flag.Duration("histories", 0, "how long each of the tests of histories runs, one history after the other; 0: a few")
	historySeed = flag.Uint64("history-seed", 0, "the first seed of histories; 0: a random one")
)

// read is how a history reads: a service's report, nil if it does not exist. It must be linearizable.
func read(ctx context.Context, cl *client.Client, service string) (*rollcallv1.Report, error) {
	got, err := cl.Get(client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable}), service)
	var e *client.Error
	switch {
	case errors.As(err, &e) && e.Reason == "NOT_FOUND":
		return nil, nil
	case err != nil:
		return nil, err
	}
	return got.GetService().GetReport(), nil
}

// history records the calls of concurrent clients, in one order of their beginnings and ends.
type history struct {
	prefix string // of its services
	acked  chan struct{}

	mu      sync.Mutex // guards the rest
	base    int64      // the registry's revision before the first call
	clock   int64
	ops     []porcupine.Operation
	clients int
	writes  int // calls that may write, each with a number of its own, which is the reason it gives
	done    map[outcome]int
	refused int // calls that surely did nothing, and are left out
	members int // changes of members that the events tell

	leases leaseBook
	record *leaseRecord // for P10
}

func newHistory(prefix string, base int64) *history {
	return &history{
		prefix: prefix, base: base, done: map[outcome]int{}, record: newLeaseRecord(), leases: newLeaseBook(),
		acked: make(chan struct{}, 1), // capacity 1: a hint
	}
}

func (h *history) service(i int) string { return h.prefix + "/s" + strconv.Itoa(i) }

func (h *history) newClient() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients++
	return h.clients - 1
}

// count is how many calls have ended in one of those ways.
func (h *history) count(ways ...outcome) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, o := range ways {
		n += h.done[o]
	}
	return n
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d calls: %v, and %d refused; %d leases, kept alive %d times, %d of them expired; members changed %d times",
		len(h.ops), h.done, h.refused, len(h.leases.granted), h.leases.kept, h.leases.expired, h.members)
}

// historyClient is one client, with one call at a time and one lease at a time.
type historyClient struct {
	h     *history
	cl    *client.Client
	conns []*grpc.ClientConn // to each node: renewals go through any of them
	id    int
	rng   *rand.Rand
	seen  [historyServices]int64 // newest revision it knows of each service, for compare-and-sets
	lease int                    // that it renews; 0: none
	past  int                    // one that it has had before, and may have lost
}

func (h *history) client(cl *client.Client, conns []*grpc.ClientConn, rng *rand.Rand) *historyClient {
	return &historyClient{h: h, cl: cl, conns: conns, id: h.newClient(), rng: rng}
}

// run calls until ctx ends; pace is called between two calls, and wait where it must take longer.
func (c *historyClient) run(ctx context.Context, pace func(), wait func(time.Duration)) {
	for ctx.Err() == nil {
		if c.lease != 0 && c.rng.IntN(100) < 3 {
			c.beLate(wait)
			continue
		}
		in := input{service: c.rng.IntN(historyServices)}
		switch n := c.rng.IntN(100); {
		case n < 30:
			in.kind = kindSet
		case n < 45:
			in.kind, in.expect = kindCompareAndSet, c.seen[in.service]
		case n < 57:
			in.kind = kindBatch
			in.second = (in.service + 1 + c.rng.IntN(historyServices-1)) % historyServices
		case n < 65:
			in.kind = kindDelete
		case n < 80:
			in.kind = kindRead
		default:
			in = c.ofLease(n)
		}
		if in.kind <= kindDelete {
			in.lease = c.named()
		}
		c.call(in)
		pace()
	}
}

// call makes one call and records it. A call under way when the test ends has an outcome of its own.
func (c *historyClient) call(in input) outcome {
	h := c.h
	h.mu.Lock()
	h.writes++
	in.number = h.writes
	h.clock++
	begin := h.clock
	h.leases.begin(&in, begin)
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	sent := time.Now()
	out := c.send(ctx, in)
	cancel()

	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	c.noteLease(in, out, sent)
	if out.outcome == refused || (in.kind == kindRead || in.kind == kindKeepAlive) && out.outcome == unknownOutcome {
		h.refused++
		return out.outcome
	}
	h.done[out.outcome]++
	h.ops = append(h.ops, porcupine.Operation{ClientId: c.id, Input: in, Call: begin, Output: out, Return: h.clock})
	if out.outcome == unknownOutcome {
		// It may go on for ever, so what follows is another client's.
		c.id = h.clients
		h.clients++
	} else {
		if in.kind <= kindRead && out.outcome != held && out.outcome != lost {
			c.seen[in.service] = out.revision
		}
		if in.kind == kindDelete {
			c.seen[in.service] = 0
		}
		select {
		case h.acked <- struct{}{}:
		default:
		}
	}
	return out.outcome
}

func (c *historyClient) send(ctx context.Context, in input) output {
	name := c.h.service(in.service)
	status := serving
	if in.number%2 == 0 {
		status = notServing
	}
	o := client.WriteOptions{Reason: strconv.Itoa(in.number), LeaseID: c.h.leaseID(in.lease)}
	out := output{}
	var err error
	switch in.kind {
	case kindSet, kindCompareAndSet:
		if in.kind == kindCompareAndSet {
			o.IfRevision = &in.expect
		}
		var res, e = c.cl.Set(ctx, name, status, o)
		if err = e; err == nil {
			out.revision = res.GetRevision()
			// Every write is another, so it must have changed something, and the record be its own.
			out.wrong = !res.GetChanged() || res.GetService().GetReport().GetRevision() != out.revision ||
				res.GetService().GetReport().GetReason() != o.Reason || res.GetService().GetStatus() != status
		}
	case kindBatch:
		var res, e = c.cl.SetBatch(ctx, []client.Change{{Service: name, Status: status}, {Service: c.h.service(in.second), Status: status}}, o)
		if err = e; err == nil {
			out.revision = res.GetRevision()
			out.wrong = res.GetChangedCount() != 2 || len(res.GetServices()) != 2 ||
				res.GetServices()[0].GetReport().GetRevision() != out.revision-1 ||
				res.GetServices()[1].GetReport().GetRevision() != out.revision
			// seen is of the first.
		}
	case kindDelete:
		var res, e = c.cl.Delete(ctx, name, o)
		if err = e; err == nil {
			out.revision = res.GetRevision()
		}
	case kindRead:
		var report *rollcallv1.Report
		if report, err = read(ctx, c.cl, name); err == nil {
			c.h.tells(report, &out)
		}
	default:
		out, err = c.sendOfLease(ctx, in, o)
	}
	var e *client.Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Reason == "REVISION_MISMATCH":
		out.outcome, out.revision = mismatch, e.CurrentRevision
	case client.IsLeaseLost(err):
		out.outcome = lost
	case client.IsLeaseHeld(err):
		out.outcome, out.lease = held, c.h.leaseNumber(e.LeaseID)
		out.wrong = out.lease == 0
	case e != nil && in.kind == kindDelete && e.Code == codes.NotFound:
		out.outcome = missing
	case e != nil && e.Written == client.WrittenNo:
		out.outcome = refused
	default:
		out.outcome = unknownOutcome
	}
	return out
}

// check looks for an order of all calls that the model allows.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	checkOperations(t, "history "+h.prefix, h.base, h.ops)
}

func checkOperations(t *testing.T, name string, base int64, ops []porcupine.Operation) bool {
	t.Helper()
	model := registryModel(base, ops)
	result, info := porcupine.CheckOperationsVerbose(model, ops, time.Minute)
	if result == porcupine.Ok {
		return true
	}
	f, err := os.CreateTemp("", "rollcall-history-*.html")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := porcupine.Visualize(model, info, f); err != nil {
		t.Error(err)
	}
	if result == porcupine.Unknown {
		t.Errorf("%s: not decided within a minute; see %s", name, f.Name())
	} else {
		t.Errorf("%s is not linearizable; see %s", name, f.Name())
	}
	return false
}

// eachHistory runs one after the other, each with a seed of its own: few of them, or for -histories.
func eachHistory(t *testing.T, few int, one func(t *testing.T, seed uint64)) {
	t.Helper()
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	end := time.Now().Add(*histories)
	for i := 0; (i < few || time.Now().Before(end)) && !t.Failed(); i++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { one(t, seed) })
		seed++
	}
}
