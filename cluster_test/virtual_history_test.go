package cluster_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
)

// onDisk is what a stopped node's disk holds of the history.
type onDisk struct {
	events     map[int64]*logv1.Event
	span       logv1.EventSpan
	meta       *logv1.RegistryMeta
	firstEntry uint64 // of raft's log
}

func readHistory(t *testing.T, n *virtualNode) onDisk {
	t.Helper()
	d, err := store.OpenDirectory(n.cfg.DataDir, n.cfg.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	log, err := store.OpenLog(d, raftlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	snapshots, err := store.OpenSnapshots(d, logger)
	if err != nil {
		t.Fatal(err)
	}
	registryFile, err := store.OpenRegistry(d, log, snapshots, registry.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer registryFile.Close()
	h := onDisk{events: map[int64]*logv1.Event{}, meta: registryFile.Meta()}
	// It is an error if one from the horizon on is missing.
	h.span, err = registryFile.Events(context.Background(), logv1.EventQuery{From: 1}, func(e *logv1.Event) (bool, error) {
		h.events[e.GetRevision()] = e
		return true, nil
	})
	if err != nil {
		t.Fatalf("history of %s: %v", n.cfg.Name, err)
	}
	if h.firstEntry, err = log.FirstIndex(); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestVirtualP11HistoryOutlivesTheLog compacts raft's log again and again, restarts nodes, and lets one
// catch up by a snapshot, while the history is compacted too. In the end every node's registry file holds
// every event from one and the same horizon on, and below it the newest of each service.
func TestVirtualP11HistoryOutlivesTheLog(t *testing.T) {
	beside(t, ofVirtualTime)
	const kept = 150
	inVirtualTime(t, func(cfg *node.Config) {
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
		cfg.HistoryEvents = kept
	}, func(t *testing.T, c *virtual) {
		ctx := context.Background()
		cl := c.client()
		defer cl.Close()
		written := map[int64]string{} // revision → what was acknowledged
		newest := map[string]int64{}  // of the services there are
		step := 0
		write := func(n int) {
			for range n {
				step++
				first, second := fmt.Sprint("shop/", step%7), fmt.Sprint("bank/", step%11)
				if step%9 == 0 {
					resp, err := cl.Delete(ctx, first, client.WriteOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if newest[first] != 0 {
						written[resp.GetRevision()] = first + " SERVICE_UNKNOWN"
						delete(newest, first)
					}
				} else {
					s := []client.Status{serving, notServing}[step%2]
					resp, err := cl.SetBatch(ctx, []client.Change{{Service: first, Status: s}, {Service: second, Status: s}},
						client.WriteOptions{Reason: fmt.Sprint("step ", step)})
					if err != nil {
						t.Fatal(err)
					}
					for i, name := range []string{first, second} {
						r := resp.GetRevision() + int64(i) - 1
						written[r], newest[name] = fmt.Sprint(name, " ", s), r
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		write(150)
		away := c.others(c.leader())[0]
		away.stop()
		before := readHistory(t, away)
		write(150)
		away.start()
		c.waitReady()
		for _, n := range c.nodes {
			n.stop()
			write(20)
			n.start()
			c.waitReady()
		}
		write(50)
		time.Sleep(time.Minute) // the compactor looks again, and the registry files follow
		revision := c.caughtUp()
		holds := c.nodes[0].services()
		for _, n := range c.nodes {
			n.stop()
		}

		reference := readHistory(t, c.nodes[0])
		oldest := reference.span.Oldest
		if left := revision - oldest + 1; left < kept || left > kept+kept/10+1 {
			t.Errorf("%d events are kept from %d on; the limit is %d", left, oldest, kept)
		}
		for _, n := range c.nodes {
			h := readHistory(t, n)
			if h.span != (logv1.EventSpan{Oldest: oldest, Newest: revision}) || h.meta.GetCompacted() != oldest {
				t.Errorf("%s holds %+v, compacted to %d; want %d to %d", n.cfg.Name, h.span, h.meta.GetCompacted(), oldest, revision)
			}
			if h.firstEntry < uint64(revision)/4 {
				t.Errorf("raft's log of %s was not compacted: it begins at entry %d", n.cfg.Name, h.firstEntry)
			}
			if n == away && h.firstEntry <= before.meta.GetIndex() {
				t.Errorf("%s was at entry %d and has the log from %d on: it needed no snapshot", n.cfg.Name, before.meta.GetIndex(), h.firstEntry)
			}
			if !maps.EqualFunc(h.events, reference.events, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
				t.Errorf("%s and %s hold different events", n.cfg.Name, c.nodes[0].cfg.Name)
			}
		}
		for r := oldest; r <= revision; r++ {
			e := reference.events[r]
			if e.GetType() == logv1.EventType_EVENT_TYPE_MEMBER_CHANGED {
				continue
			}
			if have := fmt.Sprint(e.ServiceName(), " ", client.Status(e.GetStatus())); have != written[r] {
				t.Errorf("revision %d is %q; acknowledged was %q", r, have, written[r])
			}
		}
		if e := reference.events[oldest]; e.GetRevision() != oldest || reference.events[oldest-1].GetCommitRevision() >= oldest {
			t.Errorf("the horizon %d splits an atomic write", oldest)
		}
		below := map[string]int64{} // by service, what is left below the horizon
		for r, e := range reference.events {
			if r >= oldest || e.ServiceName() == "" {
				continue
			}
			if below[e.ServiceName()] != 0 || e.GetDeletes() {
				t.Errorf("below the horizon, %d, there is %v", oldest, e)
			}
			below[e.ServiceName()] = r
		}
		for name, r := range newest {
			if reference.events[r].ServiceName() != name || holds[name].GetReport().GetRevision() != r {
				t.Errorf("%s is of revision %d; its event is %v, the registry says %v", name, r, reference.events[r], holds[name])
			}
		}
		if len(holds) != len(newest) {
			t.Errorf("the registry holds %d services, not %d", len(holds), len(newest))
		}
	})
}
