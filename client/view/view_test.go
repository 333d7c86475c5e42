package view

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

const shop = "shop"

var justShop = []string{shop}

func TestFollowsStatus(t *testing.T) {
	inBubble(t, 3, nil, justShop, nil, func(v *running) {
		v.is(shop, "SERVICE_UNKNOWN in c1")
		v.r.set(shop, client.Serving)
		v.is(shop, "SERVING in c1")
		v.r.set(shop, client.NotServing)
		v.is(shop, "NOT_SERVING in c1, off")
		v.r.set(shop, client.Unknown)
		v.is(shop, "UNKNOWN in c1")
		v.r.set(shop, client.NotServing)
		v.r.set(shop, client.ServiceUnknown)
		v.is(shop, "SERVICE_UNKNOWN in c1") // deleted in the same cluster: no opinion
		if o := v.Get(shop); o.Record != nil || o.Revision != 5 {
			t.Errorf("a deleted service has %v", o)
		}
		if o := v.Get("another"); o != (Opinion{}) {
			t.Errorf("a name that is not of the View has %v", o)
		}
	})
}

// TestOverrideOfTheSameStatus: an override that changes no status changes the opinion all the same.
func TestOverrideOfTheSameStatus(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing) }, justShop, nil, func(v *running) {
		changed := v.Changed()
		v.r.change(func(s map[string]*rollcallv1.ServiceRecord, revision int64) {
			s[shop] = overridden(s[shop], client.NotServing, revision, time.Time{})
		})
		v.is(shop, "NOT_SERVING in c1, off")
		if v.Get(shop).Record.GetOverride() == nil {
			t.Error("the override is not seen")
		}
		select {
		case <-changed:
		default:
			t.Error("Changed is not closed")
		}
	})
}

// overridden is a record with an override over it.
func overridden(r *rollcallv1.ServiceRecord, s client.Status, revision int64, expires time.Time) *rollcallv1.ServiceRecord {
	o := &rollcallv1.Override{Pattern: r.GetService(), Status: s, Revision: revision}
	if !expires.IsZero() {
		o.ExpireTime = timestamppb.New(expires)
	}
	return &rollcallv1.ServiceRecord{Service: r.GetService(), Status: s, Report: r.GetReport(), Override: o}
}

// TestHungNodeDelaysNothing hangs each node in turn: the flip is seen at once, and by a watch at another node.
func TestHungNodeDelaysNothing(t *testing.T) {
	for i := range 3 {
		inBubble(t, 3, nil, justShop, nil, func(v *running) {
			// The watches have been anywhere: each half's first node was away once.
			v.r.nodes[0].kill()
			v.after(5 * time.Second)
			v.r.nodes[0].start()
			v.after(5 * time.Second)
			v.r.do(func() { v.r.nodes[i].hung = true })
			v.r.set(shop, client.NotServing)
			v.after(time.Millisecond)
			v.is(shop, "NOT_SERVING in c1, off")
			v.r.set(shop, client.Serving)
			v.after(time.Millisecond)
			v.is(shop, "SERVING in c1")
			v.r.do(func() { v.r.nodes[i].hung = false })
		})
	}
}

// TestSilence: all nodes die, and nothing changes; when they are back the next flip is seen.
func TestSilence(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing); r.set("open", client.Serving) }, []string{shop, "open"}, nil, func(v *running) {
		changed := v.Changed()
		if v.Silent() != 0 {
			t.Error("it is silent while it hears nodes")
		}
		for _, n := range v.r.nodes {
			n.kill()
		}
		v.after(10 * time.Minute)
		v.is(shop, "NOT_SERVING in c1, off")
		v.is("open", "SERVING in c1")
		select {
		case <-changed:
			t.Error("Changed is closed")
		default:
		}
		if s := v.Silent(); s != 10*time.Minute {
			t.Errorf("it is silent for %v", s)
		}
		if n := v.logs.count("no node of the registry is heard"); n != 1 {
			t.Errorf("the silence is logged %d times", n)
		}
		for _, n := range v.r.nodes {
			n.start()
		}
		v.after(6 * time.Second)
		if v.Silent() != 0 || v.logs.count("the registry is heard again") != 1 {
			t.Error("it does not say that nodes are heard again")
		}
		v.is(shop, "NOT_SERVING in c1, off")
		v.r.set(shop, client.Serving)
		v.is(shop, "SERVING in c1")
	})
}

// TestReconnectKeepsOpinions: watches come back one at a time and nothing shows it.
func TestReconnectKeepsOpinions(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing) }, justShop, nil, func(v *running) {
		changed := v.Changed()
		for range 3 {
			for _, n := range v.r.nodes {
				n.kill()
				v.after(100 * time.Millisecond)
				n.start()
				v.after(3 * time.Second)
				v.is(shop, "NOT_SERVING in c1, off")
			}
		}
		select {
		case <-changed:
			t.Error("Changed is closed though nothing changed")
		default:
		}
	})
}

// TestAnotherCluster: what was off is held until the new cluster speaks of it, all else is what the new one says.
func TestAnotherCluster(t *testing.T) {
	names := []string{shop, "open", "other", "deleted"}
	for _, nodes := range []int{1, 2, 3, 5} {
		inBubble(t, nodes, func(r *fakeRegistry) {
			for range 20 {
				r.set("filler", client.Serving)
			}
			r.set(shop, client.NotServing)
			r.set("open", client.Serving)
			r.set("other", client.NotServing)
		}, names, nil, func(v *running) {
			old := v.Get(shop)
			v.r.home = newFakeCluster("c2")
			v.r.found(v.r.home, v.r.nodes...)
			v.after(20 * time.Second)
			v.is(shop, "NOT_SERVING in c1, off, held")
			if o := v.Get(shop); o.Record != old.Record || o.Revision != old.Revision || o.HeardAt != old.HeardAt {
				t.Errorf("what is held is %v, was %v", o, old)
			}
			v.is("open", "SERVICE_UNKNOWN in c2")
			v.is("deleted", "SERVICE_UNKNOWN in c2")
			v.r.set("other", client.NotServing)
			v.is("other", "NOT_SERVING in c2, off")
			v.r.set(shop, client.Serving)
			v.is(shop, "SERVING in c2")
			v.r.set(shop, client.NotServing)
			v.is(shop, "NOT_SERVING in c2, off")
			v.r.set("other", client.ServiceUnknown)
			v.is("other", "SERVICE_UNKNOWN in c2")
			// A third one, restored from a backup: it knows some names.
			third := newFakeCluster("c3")
			third.set("open", client.NotServing)
			v.r.home = third
			v.r.found(third, v.r.nodes...)
			v.after(20 * time.Second)
			v.is(shop, "NOT_SERVING in c2, off, held")
			v.is("open", "NOT_SERVING in c3, off")
		})
	}
}

// TestHeldOverride: what an operator's override switched off is ended by an operator, or with the override, and not by
// what an instance reports by itself.
func TestHeldOverride(t *testing.T) {
	leased := func(s client.Status, lease string) func(map[string]*rollcallv1.ServiceRecord, int64) {
		return func(state map[string]*rollcallv1.ServiceRecord, revision int64) {
			state[shop] = reported(shop, s, revision)
			state[shop].Report.LeaseId = lease
		}
	}
	for name, test := range map[string]struct {
		expires time.Duration
		then    func(v *running)
	}{
		"an operator reports": {0, func(v *running) {
			v.r.set(shop, client.Serving)
			v.is(shop, "SERVING in c2")
		}},
		"an operator overrides": {0, func(v *running) {
			v.r.change(func(s map[string]*rollcallv1.ServiceRecord, revision int64) {
				s[shop] = overridden(s[shop], client.NotServing, revision, time.Time{})
			})
			v.is(shop, "NOT_SERVING in c2, off")
		}},
		"the lease expires": {0, func(v *running) {
			v.r.change(leased(client.NotServing, ""))
			v.is(shop, "NOT_SERVING in c1, off, held")
			v.r.change(leased(client.Serving, "l2"))
			v.is(shop, "NOT_SERVING in c1, off, held")
		}},
		"the override ends": {time.Hour, func(v *running) {
			v.after(time.Hour - time.Minute)
			v.is(shop, "NOT_SERVING in c1, off, held")
			v.after(time.Minute)
			v.is(shop, "SERVING in c2")
		}},
		"nothing": {0, func(v *running) {
			v.after(3 * time.Hour)
			v.is(shop, "NOT_SERVING in c1, off, held")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3, func(r *fakeRegistry) {
				var end time.Time
				if test.expires > 0 {
					end = time.Now().Add(test.expires)
				}
				r.set(shop, client.Serving)
				r.change(func(s map[string]*rollcallv1.ServiceRecord, revision int64) {
					s[shop] = overridden(s[shop], client.NotServing, revision, end)
				})
			}, justShop, nil, func(v *running) {
				v.r.home = newFakeCluster("c2")
				v.r.found(v.r.home, v.r.nodes...)
				v.after(20 * time.Second)
				v.is(shop, "NOT_SERVING in c1, off, held")
				v.r.change(leased(client.Serving, "l1"))
				v.is(shop, "NOT_SERVING in c1, off, held")
				test.then(v)
			})
		})
	}
}

// TestBehindNode: a node that is behind takes nothing back, and in what it sends late is nothing new.
func TestBehindNode(t *testing.T) {
	for i := range 3 {
		inBubble(t, 3, nil, justShop, nil, func(v *running) {
			v.r.set(shop, client.Serving)
			synctestWait()
			v.r.do(func() { v.r.nodes[i].lags = true })
			v.r.set(shop, client.NotServing)
			v.is(shop, "NOT_SERVING in c1, off")
			v.r.set(shop, client.Serving)
			v.r.set(shop, client.NotServing)
			synctestWait()
			changed := v.Changed()
			for range 3 { // it follows, one revision at a time
				v.r.do(func() {
					if n := v.r.nodes[i]; n.applied < len(n.cluster.states)-1 {
						n.applied++
					}
				})
				v.after(time.Millisecond)
				v.is(shop, "NOT_SERVING in c1, off")
			}
			select {
			case <-changed:
				t.Error("a node that is behind changed something")
			default:
			}
		})
	}
}

// TestOverrideThatOnlyOneWatchSaw: one watch sees an override come and hangs; the other was away and sees neither that
// it came nor that it went.
func TestOverrideThatOnlyOneWatchSaw(t *testing.T) {
	inBubble(t, 2, func(r *fakeRegistry) { r.set(shop, client.NotServing) }, justShop, nil, func(v *running) {
		before := v.Get(shop).Record
		v.r.nodes[0].kill()
		v.r.change(func(s map[string]*rollcallv1.ServiceRecord, revision int64) {
			s[shop] = overridden(s[shop], client.NotServing, revision, time.Time{})
		})
		v.after(time.Millisecond)
		if v.Get(shop).Record.GetOverride() == nil {
			t.Fatal("the override is not seen")
		}
		v.r.do(func() { v.r.nodes[1].hung = true })
		v.r.change(func(s map[string]*rollcallv1.ServiceRecord, _ int64) { s[shop] = before })
		v.r.nodes[0].start()
		v.after(10 * time.Second)
		if o := v.Get(shop); o.Record.GetOverride() != nil || o.Revision != 3 {
			t.Errorf("the override is still seen, as of %d", o.Revision)
		}
		v.r.do(func() { v.r.nodes[1].hung = false })
	})
}

// TestUnsureNode: a node that cannot make sure what it holds switches off at once, and says of no name that it is not
// there.
func TestUnsureNode(t *testing.T) {
	inBubble(t, 1, func(r *fakeRegistry) {
		r.set(shop, client.NotServing)
		r.nodes[0].unsure = true
	}, []string{shop, "missing"}, nil, func(v *running) {
		v.is(shop, "NOT_SERVING in c1, off")
		v.is("missing", "not heard")
		select {
		case <-v.Ready():
			t.Error("it is ready")
		default:
		}
	})
}

func TestReady(t *testing.T) {
	synctestRun(t, func(t *testing.T) {
		r := newFakeRegistry(t, 3)
		for _, n := range r.nodes {
			n.kill()
		}
		v := startView(t, r, []string{shop, "missing"})
		time.Sleep(10 * time.Minute)
		select {
		case <-v.Ready():
			t.Fatal("it is ready before it heard anything")
		default:
		}
		if v.Silent() != 10*time.Minute || v.logs.count("cannot be followed") != 2 {
			t.Errorf("silent for %v; logged: %q", v.Silent(), v.logs.lines)
		}
		r.nodes[2].start()
		time.Sleep(6 * time.Second)
		<-v.Ready()
		v.is("missing", "SERVICE_UNKNOWN in c1")
	})
}

// TestRefusals: nodes refuse for hours. That is logged once at each, tried less and less often, and ends.
func TestRefusals(t *testing.T) {
	for name, refusal := range map[string]error{
		"permission":    status.Error(codes.PermissionDenied, "no"),
		"token":         status.Error(codes.Unauthenticated, "no"),
		"unimplemented": status.Error(codes.Unimplemented, "unknown service"),
		"garbage":       status.Error(codes.InvalidArgument, "what"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3, func(r *fakeRegistry) {
				for _, n := range r.nodes {
					n.refusal = refusal
				}
			}, justShop, nil, func(v *running) {
				v.after(10 * time.Minute)
				calls := v.r.calls()
				v.after(time.Hour)
				// Each of two watches tries each minute at most, and each half minute at least.
				if n := v.r.calls() - calls; n < 118 || n > 242 {
					t.Errorf("%d tries in an hour", n)
				}
				if n := v.logs.count("cannot be followed"); n != 3 {
					t.Errorf("logged %d times: %q", n, v.logs.lines)
				}
				v.is(shop, "not heard")
				v.r.do(func() {
					for _, n := range v.r.nodes {
						n.refusal = nil
					}
				})
				v.after(time.Minute)
				v.r.set(shop, client.NotServing)
				v.is(shop, "NOT_SERVING in c1, off")
				if n := v.logs.count("can be followed again"); n < 2 {
					t.Errorf("logged %d times that it can be followed again: %q", n, v.logs.lines)
				}
			})
		})
	}
}

// TestOneNodeRefuses: the others of its half are used.
func TestOneNodeRefuses(t *testing.T) {
	for i := range 3 {
		inBubble(t, 3, func(r *fakeRegistry) { r.nodes[i].refusal = status.Error(codes.PermissionDenied, "no") }, justShop, nil, func(v *running) {
			v.after(5 * time.Second)
			if i < 2 { // it shares its half
				v.r.do(func() { v.r.nodes[2].hung = true })
			}
			v.r.set(shop, client.NotServing)
			v.after(time.Millisecond)
			v.is(shop, "NOT_SERVING in c1, off")
			v.r.do(func() { v.r.nodes[2].hung = false })
		})
	}
}
