package cluster_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

var (
	histories   = flag.Duration("histories", 0, "how long each of the tests of histories runs, one history after the other; 0: a few")
	historySeed = flag.Uint64("history-seed", 0, "the first seed of histories; 0: a random one")
)

// read is how a history reads: the revision of a service's report, 0 if it does not exist, and the
// reason in it. It must be linearizable.
func read(ctx context.Context, cl *client.Client, service string) (revision int64, reason string, err error) {
	got, err := cl.Get(client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable}), service)
	var e *client.Error
	switch {
	case errors.As(err, &e) && e.Reason == "NOT_FOUND":
		return 0, "", nil
	case err != nil:
		return 0, "", err
	}
	report := got.GetService().GetReport()
	return report.GetRevision(), report.GetReason(), nil
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
}

func newHistory(prefix string, base int64) *history {
	return &history{prefix: prefix, base: base, acked: make(chan struct{}, 1), done: map[outcome]int{}} // capacity 1: a hint
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
	return fmt.Sprintf("%d calls: %v, and %d refused", len(h.ops), h.done, h.refused)
}

// historyClient is one client, with one call at a time.
type historyClient struct {
	h    *history
	cl   *client.Client
	id   int
	rng  *rand.Rand
	seen [historyServices]int64 // newest revision it knows of each service, for compare-and-sets
}

func (h *history) client(cl *client.Client, rng *rand.Rand) *historyClient {
	return &historyClient{h: h, cl: cl, id: h.newClient(), rng: rng}
}

// run calls until ctx ends; pace is called between two calls.
func (c *historyClient) run(ctx context.Context, pace func()) {
	for ctx.Err() == nil {
		in := input{service: c.rng.IntN(historyServices)}
		switch n := c.rng.IntN(100); {
		case n < 35:
			in.kind = kindSet
		case n < 55:
			in.kind, in.expect = kindCompareAndSet, c.seen[in.service]
		case n < 70:
			in.kind = kindBatch
			in.second = (in.service + 1 + c.rng.IntN(historyServices-1)) % historyServices
		case n < 80:
			in.kind = kindDelete
		default:
			in.kind = kindRead
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
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	out := c.send(ctx, in)
	cancel()

	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	if out.outcome == refused || in.kind == kindRead && out.outcome == unknownOutcome {
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
		c.seen[in.service] = out.revision
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
	o := client.WriteOptions{Reason: strconv.Itoa(in.number)}
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
		var reason string
		if out.revision, reason, err = read(ctx, c.cl, name); err == nil {
			out.outcome = mismatch
			if reason != "" {
				if out.writer, err = strconv.Atoi(reason); err != nil {
					out.wrong, err = true, nil
				}
			}
		}
	}
	var e *client.Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Reason == "REVISION_MISMATCH":
		out.outcome, out.revision = mismatch, e.CurrentRevision
	case e != nil && in.kind == kindDelete && e.Code == codes.NotFound:
		out.outcome = missing
	case e != nil && e.Written == client.WrittenNo:
		out.outcome = refused
	default:
		out.outcome = unknownOutcome
	}
	return out
}

// finish writes once more to every service, until that is acknowledged: from there on, nothing is
// left to be explained. Then it asks the registry's events what became of the calls whose outcome nobody
// knows.
func (h *history) finish(t *testing.T, cl *client.Client, pace func()) {
	t.Helper()
	c := h.client(cl, nil)
	for i := range historyServices {
		for tries := 0; c.call(input{kind: kindSet, service: i}) != acknowledged; tries++ {
			if tries > 200 {
				t.Fatalf("history %s: no last write to %s", h.prefix, h.service(i))
			}
			pace()
		}
	}
	for tries := 0; ; tries++ {
		written, err := h.written(cl)
		if err == nil {
			h.settle(t, written)
			return
		}
		if tries > 200 {
			t.Fatalf("history %s: its events: %v", h.prefix, err)
		}
		pace()
	}
}

// written returns the revisions of each call that wrote, by its number: more than one if it did so more
// than once.
func (h *history) written(cl *client.Client) (map[int][]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ctx = client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable})
	written := map[int][]int64{}
	for e, err := range cl.ListEvents(ctx, client.ListEventsOptions{Prefixes: []string{h.prefix + "/"}, From: h.base + 1}) {
		if err != nil {
			return nil, err
		}
		number, err := strconv.Atoi(e.GetReason())
		if err != nil {
			return nil, err
		}
		if e.GetRevision() == e.GetCommitRevision() {
			written[number] = append(written[number], e.GetRevision())
		}
	}
	return written, nil
}

// settle gives calls of unknown outcome the one that they had: they took effect, some time after they
// began, or never will. The checker would have to try every place for each, and has no end of it with many.
func (h *history) settle(t *testing.T, written map[int][]int64) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = slices.DeleteFunc(h.ops, func(op porcupine.Operation) bool {
		in, out := op.Input.(input), op.Output.(output)
		return out.outcome == unknownOutcome && len(written[in.number]) == 0
	})
	for i := range h.ops {
		in, out := h.ops[i].Input.(input), h.ops[i].Output.(output)
		revisions := written[in.number]
		switch {
		case len(revisions) > 1:
			t.Errorf("history %s: %s took effect at revisions %v", h.prefix, describe(in, out), revisions)
		case out.outcome == unknownOutcome:
			h.ops[i].Output = output{revision: revisions[0]}
			h.ops[i].Return = h.clock + 1 // at the latest
		case len(revisions) == 1 && (out.outcome != acknowledged || out.revision != revisions[0]):
			t.Errorf("history %s: %s took effect at revision %d", h.prefix, describe(in, out), revisions[0])
		case len(revisions) == 0 && in.kind != kindRead && out.outcome == acknowledged:
			t.Errorf("history %s: %s is not among the events", h.prefix, describe(in, out))
		}
	}
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
