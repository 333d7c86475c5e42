package view

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// TestOneEndpointOfAnotherCluster: one endpoint of three belongs to another registry by mistake, which knows the same
// names. What the right one says counts, from the start and later, whichever endpoint it is.
func TestOneEndpointOfAnotherCluster(t *testing.T) {
	for i := range 3 {
		inBubble(t, 3, func(r *fakeRegistry) {
			foreign := newFakeCluster("foreign")
			foreign.set("off_there", client.NotServing)
			foreign.set("there", client.NotServing)
			foreign.set("off_here", client.Serving)
			r.set("off_here", client.NotServing)
			r.set("off_there", client.Serving)
			r.set("here", client.NotServing)
			r.do(func() { r.nodes[i].cluster = foreign })
		}, []string{"off_here", "off_there", "here", "there"}, nil, func(v *running) {
			v.after(3 * time.Second)
			check := func() {
				t.Helper()
				v.is("off_here", "NOT_SERVING in c1, off")
				v.is("off_there", "SERVING in c1")
				v.is("here", "NOT_SERVING in c1, off")
				v.is("there", "SERVICE_UNKNOWN in c1")
			}
			check()
			v.after(10 * time.Minute)
			check()
			v.r.set("off_here", client.Serving)
			v.after(time.Millisecond)
			v.is("off_here", "SERVING in c1")
			v.r.set("off_here", client.NotServing)
			v.after(time.Millisecond)
			// The nodes of the right one restart, one at a time.
			for j, n := range v.r.nodes {
				if j != i {
					n.kill()
					v.after(4 * time.Second)
					n.start()
					v.after(4 * time.Second)
					check()
				}
			}
			if n := v.logs.count("different clusters"); n > 3 {
				t.Errorf("the dispute is logged %d times", n)
			}
		})
	}
}

// TestRollingRestore: the nodes are restored from a backup one after another. What is off stays off all the time, what
// serves goes on, and the restored registry is followed as soon as most endpoints belong to it.
func TestRollingRestore(t *testing.T) {
	orders := [][]int{{0, 1, 2}, {2, 1, 0}, {2, 0, 1}, {1, 2, 0}}
	for _, order := range orders {
		inBubble(t, 3, func(r *fakeRegistry) {
			r.set("off", client.NotServing)
			r.set("newly_off", client.NotServing)
			r.set("on", client.Serving)
		}, []string{"off", "newly_off", "on"}, nil, func(v *running) {
			backup := newFakeCluster("c2")
			backup.set("off", client.NotServing)
			backup.set("on", client.Serving)
			for i, at := range order {
				v.r.found(backup, v.r.nodes[at])
				v.after(30 * time.Second)
				if !v.Get("off").Off || !v.Get("newly_off").Off || v.Get("on").Off || v.Get("on").Status != client.Serving {
					t.Errorf("order %v, %d restored: %v %v %v", order, i+1, v.Get("off"), v.Get("newly_off"), v.Get("on"))
				}
				if i == 1 { // the last node of the old cluster is still heard, and has no quorum
					v.is("newly_off", "NOT_SERVING in c1, off, held")
					v.r.do(func() { backup.set("newly_off", client.Serving) })
					v.after(time.Millisecond)
					v.is("newly_off", "SERVING in c2")
					v.r.do(func() { backup.set("newly_off", client.NotServing) })
					v.after(time.Millisecond)
					v.is("newly_off", "NOT_SERVING in c2, off")
				}
			}
		})
	}
}

// TestRestoredToOneNode: the others stay away. The restored one is followed when the old registry was not heard for a
// while.
func TestRestoredToOneNode(t *testing.T) {
	for i := range 3 {
		inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing) }, justShop, nil, func(v *running) {
			for _, n := range v.r.nodes {
				n.kill()
			}
			v.after(time.Minute)
			single := newFakeCluster("c2")
			v.r.found(single, v.r.nodes[i])
			v.after(40 * time.Second)
			v.is(shop, "NOT_SERVING in c1, off, held")
			v.r.do(func() { single.set(shop, client.Serving) })
			v.after(time.Millisecond)
			v.is(shop, "SERVING in c2")
		})
	}
}

// TestTwoEndpointsOfTwoClusters: nothing says which is right. The one that was heard first counts, until it is gone.
func TestTwoEndpointsOfTwoClusters(t *testing.T) {
	inBubble(t, 2, func(r *fakeRegistry) {
		r.set(shop, client.NotServing)
		r.nodes[1].kill()
	}, justShop, nil, func(v *running) {
		v.is(shop, "NOT_SERVING in c1, off")
		other := newFakeCluster("c2")
		other.set(shop, client.Serving)
		v.r.found(other, v.r.nodes[1])
		v.after(10 * time.Minute)
		v.is(shop, "NOT_SERVING in c1, off")
		v.r.nodes[0].kill()
		v.after(time.Minute)
		v.is(shop, "SERVING in c2")
	})
}

// TestCensusNeedsAnswers: an endpoint that does not say its cluster is counted for none.
func TestCensusNeedsAnswers(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.Serving) }, justShop, nil, func(v *running) {
		if count := v.census(v.t.Context()); count["c1"] != 3 {
			t.Errorf("%v", count)
		}
		v.r.nodes[1].kill()
		v.r.do(func() { v.r.nodes[2].refusal = status.Error(codes.PermissionDenied, "no") })
		if count := v.census(v.t.Context()); count["c1"] != 1 || len(count) != 1 {
			t.Errorf("%v", count)
		}
	})
}

// TestInitial: opinions of an earlier run count until the registry speaks.
func TestInitial(t *testing.T) {
	initial := map[string]Opinion{
		shop:       {Off: true, Heard: true, Cluster: "c1", Revision: 1},
		"gone":     {Off: true, Heard: true, Cluster: "c1", Revision: 1},
		"held":     {Off: true, Heard: true, Cluster: "c0", Revision: 70},
		"newer":    {Off: true, Heard: true, Cluster: "c1", Revision: 70},
		"serving":  {Heard: true, Status: client.Serving, Cluster: "c0", Revision: 70},
		"no names": {Off: true},
	}
	names := []string{shop, "gone", "held", "newer", "serving"}
	inBubble(t, 3, func(r *fakeRegistry) {
		r.set(shop, client.Serving)
		r.set("newer", client.Serving)
		for _, n := range r.nodes {
			n.kill()
		}
	}, names, []Option{WithInitial(initial)}, func(v *running) {
		v.after(time.Minute)
		v.is(shop, "NOT_SERVING in c1, off")
		v.is("serving", "SERVING in c0")
		for _, n := range v.r.nodes {
			n.start()
		}
		v.after(10 * time.Second)
		v.is(shop, "SERVING in c1")
		v.is("gone", "SERVICE_UNKNOWN in c1")
		v.is("held", "NOT_SERVING in c0, off, held")
		v.is("newer", "NOT_SERVING in c1, off") // all nodes are behind what was seen once
		v.is("serving", "SERVICE_UNKNOWN in c1")
		v.r.set("held", client.Serving)
		v.is("held", "SERVING in c1")
	})
}
