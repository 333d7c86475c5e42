package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// withHTTP gives each node an HTTP port, beside its API.
func withHTTP(cfg *node.Config) {
	for _, m := range cfg.Members {
		if m.Name == cfg.Name {
			cfg.HTTPListen = strings.Replace(m.APIAddress, ":7600", ":7602", 1)
		}
	}
}

// http returns what makes requests over HTTP.
func (c *virtual) http() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return c.net.Dial(ctx, address)
	}}
}

// openSSE opens a stream of a node over HTTP.
func (n *virtualNode) openSSE(what, last string) *sseReader {
	n.c.t.Helper()
	return openSSEBy(n.c.t, n.c.http(), "http://"+n.cfg.HTTPListen+"/api/v1/"+what, last, false)
}

// restores is the line of a node's metrics that says how many snapshots of a leader it took.
func (n *virtualNode) restores() string {
	n.c.t.Helper()
	res, err := (&http.Client{Transport: n.c.http()}).Get("http://" + n.cfg.HTTPListen + "/metrics")
	must(n.c.t, err)
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	must(n.c.t, err)
	_, line, found := strings.Cut(string(all), "\nrollcall_snapshot_restores_total ")
	if !found {
		n.c.t.Fatalf("%s", all)
	}
	line, _, _ = strings.Cut(line, "\n")
	return line
}

// TestVirtualSnapshotUnderOpenStreams: a node that is cut off while others write gets a snapshot in place of what it missed.
// Its streams over HTTP stay open meanwhile, and afterwards the one of services has the state, and the one of events each
// event once and in order.
func TestVirtualSnapshotUnderOpenStreams(t *testing.T) {
	beside(t, ofVirtualTime)
	inVirtualTime(t, func(cfg *node.Config) {
		withHTTP(cfg)
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Second, 20, 5
	}, func(t *testing.T, c *virtual) {
		c.awaitLevel(2)
		leader := c.leader()
		away := c.others(leader)[0]
		cl := c.client(c.others(away)...)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), virtualPatience)
		defer cancel()
		for i := range 5 {
			c.set(cl, fmt.Sprint("shop/", i), serving)
		}
		c.caughtUp()
		services, events := away.openSSE("services:watch?prefixes=shop/&view=status", ""), away.openSSE("events:watch?from_revision=1&prefixes=shop/", "")
		defer services.close()
		defer events.close()
		state := sseState{}
		state.read(services, away.status().GetRevision())
		before := away.restores()

		for _, n := range c.others(away) {
			c.net.Partition(memnet.Refuse, away.cfg.Name, n.cfg.Name)
		}
		for i := range 60 {
			c.set(cl, "shop/1", []client.Status{notServing, serving}[i%2])
		}
		_, err := cl.Delete(ctx, "shop/2", client.WriteOptions{})
		must(t, err)
		_, err = cl.SetOverride(ctx, "shop/3", notServing, client.WriteOptions{Reason: "test"})
		must(t, err)
		c.set(cl, "shop/new", serving)
		c.until("a snapshot of the leader", func() bool { return len(snapshots(t, leader)) > 0 })
		c.net.Heal()
		c.caughtUp()
		if away.restores() == before {
			t.Fatal("the node that was away got no snapshot")
		}
		revision := leader.status().GetRevision()
		state.read(services, revision)
		want := map[string]string{"shop/0": "SERVING", "shop/1": "SERVING", "shop/3": "NOT_SERVING", "shop/4": "SERVING", "shop/new": "SERVING"}
		if !maps.Equal(state.statuses, want) {
			t.Errorf("the stream of services shows %v, want %v", state.statuses, want)
		}
		got, last := readSSEEvents(events, revision)
		all := leader.openSSE("events:watch?from_revision=1&prefixes=shop/", "")
		defer all.close()
		if whole, _ := readSSEEvents(all, revision); !slices.Equal(got, whole) || len(got) != 5+60+3 {
			t.Errorf("the stream of events had %v, want %v", got, whole)
		}

		// Both go on at another node.
		c.set(cl, "shop/4", notServing)
		revision = leader.status().GetRevision()
		again := leader.openSSE("services:watch?prefixes=shop/&view=status", state.id)
		defer again.close()
		state.read(again, revision)
		if want["shop/4"] = "NOT_SERVING"; !state.resumed || state.records != 1 || !maps.Equal(state.statuses, want) {
			t.Errorf("resumed %v with %d records: %v, want %v", state.resumed, state.records, state.statuses, want)
		}
		further := leader.openSSE("events:watch?prefixes=shop/", last)
		defer further.close()
		if got, _ := readSSEEvents(further, revision); !slices.Equal(got, []int64{revision}) {
			t.Errorf("the stream of events goes on with %v, want %d", got, revision)
		}
	})
}

// readSSEEvents takes events until a revision, and returns theirs, and the last id.
func readSSEEvents(r *sseReader, until int64) (revisions []int64, last string) {
	r.t.Helper()
	for {
		e, err := r.next()
		if err != nil {
			r.t.Fatalf("%s: %v", r.res.Status, err)
		}
		var m struct {
			Events   []struct{ Revision int64 }
			Revision int64
			More     bool
		}
		if err := json.Unmarshal(e.data, &m); err != nil || e.name == "error" {
			r.t.Fatalf("%s %s: %v", e.name, e.data, err)
		}
		for _, one := range m.Events {
			revisions = append(revisions, one.Revision)
		}
		if e.id != "" {
			last = e.id
		}
		if e.name == "events" && m.Revision >= until && !m.More {
			return revisions, last
		}
	}
}
