package resolver

import (
	"fmt"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestAClusterThatIsGoneStaysGone: one half has followed the nodes to another cluster, the other one has not come back.
// When both fall silent, what the half that has not come back said last is no news: the last word stays.
func TestAClusterThatIsGoneStaysGone(t *testing.T) {
	for _, gone := range []string{"a", "b"} {
		t.Run("half "+gone, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *registry, c *conn) {
				there := map[string]string{"a": "b", "b": "a"}[gone]
				r.off(false)
				override := overridden(a3, client.Serving, nil) // by an operator, in the cluster that is gone
				r.both(900, is(a1, client.Serving), is(a2, client.Serving), override)
				r.connect(gone, false)
				r.connect(there, false)
				r.begin("Y", there, 1, is(a1, client.NotServing), is(a2, client.Serving), overridden(a3, client.NotServing, nil))
				c.has(t, a2)
				r.connect(there, false)
				c.has(t, a2)
				r.fail(gone, fmt.Errorf("nobody is there"))
				c.has(t, a2)
				r.fail(there, fmt.Errorf("nobody is there"))
				time.Sleep(24 * time.Hour)
				c.has(t, a2)
				// Nodes that really belong to the old one come back: then it is news.
				r.connect(gone, true)
				r.say(gone, 901, is(a1, client.Serving), is(a2, client.NotServing))
				c.has(t, a1)
			})
		})
	}
}

// TestClustersThatTakeTurns: nodes are wiped and restored one after the other. What an operator switched off stays so,
// whichever cluster is heard.
func TestClustersThatTakeTurns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		r.both(900, is(a1, client.Serving), overridden(a2, client.NotServing, nil))
		for i := range int64(5) {
			y, z := fmt.Sprintf("Y%d", i), fmt.Sprintf("Z%d", i)
			r.connect("a", false)
			r.begin(y, "a", 1+i, is(a1, client.Serving), is(a2, client.Serving))
			c.has(t, a1)
			r.connect("b", false)
			c.has(t, a1)
			r.begin(z, "b", 1+i)
			c.has(t, a1)
			r.connect("a", false)
			c.has(t, a1)
			r.begin(z, "a", 2+i, is(a1, client.Serving), is(a2, client.Serving))
			c.has(t, a1)
		}
	})
}

// TestOddInstances: what is no address of one process is skipped, the others are given as they are written.
func TestOddInstances(t *testing.T) {
	for address, used := range map[string]bool{
		"[::1]:80": true, "[::ffff:10.0.0.1]:80": true, "[fe80::1%eth0]:80": true, "HOST:80": true, "host.:80": true, "host_1.example:65535": true, "1:80": true,
		"unix:80": false, "unix:/tmp/x": false, "unix:///tmp/x": false, "host:0": false, "host:99999": false, "host:080": false, "host:+80": false, "host:": false, ":80": false,
		"host": false, "[::]:80": false, "0.0.0.0:80": false, "224.0.0.1:80": false, "[::1:80": false, "::1:80": false, "[::1]80": false, "-x:80": false,
		"dns:///host:80": false, "passthrough:///host:80": false, "user@host:80": false, "host:80/x": false, "cell-a/host:80": false, "häuser:80": false, "ho\xffst:80": false,
	} {
		inBubble(t, func(t *testing.T, r *registry, c *conn) {
			r.off(false)
			r.both(1, is("10.0.0.9:80", client.Serving), is(address, client.Serving))
			r.builder.panicPercent = 100
			c.mu.Lock()
			n := len(c.state.Endpoints)
			c.mu.Unlock()
			if got := n == 2; got != used {
				t.Errorf("%q is used: %v, want %v", address, got, used)
			}
		})
	}
}

// TestManyInstances: a thousand, which flap.
func TestManyInstances(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.off(false)
		var up, down []*rollcallv1.ServiceRecord
		for i := range 1000 {
			address := fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)
			up, down = append(up, is(address, client.Serving)), append(down, is(address, client.NotServing))
		}
		r.both(1, up...)
		for i := range int64(20) {
			r.say("a", 2+2*i, down[:999]...)
			c.has(t, "10.0.3.250:80")
			r.say("b", 3+2*i, up...)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.state.Endpoints); n != 1000 {
			t.Errorf("%d instances are given", n)
		}
	})
}

// TestPanicAtItsEdges: 0 is off, 1 is nobody left, 100 is nobody missing.
func TestPanicAtItsEdges(t *testing.T) {
	for _, tt := range []struct {
		percent, serving, ill int
		panics                bool
	}{
		{0, 0, 1, false}, {1, 0, 1, true}, {100, 0, 1, true}, {1, 1, 0, false}, {100, 1, 0, false}, {100, 99, 1, true}, {99, 99, 1, false},
		{1, 1, 99, false}, {1, 1, 100, true}, {50, 1, 1, false}, {50, 1, 2, true}, {100, 0, 0, false},
	} {
		s := &state{panicPercent: tt.percent, seen: &observation{instances: map[string]instance{}}}
		for i := range tt.serving + tt.ill {
			address := fmt.Sprintf("h%d:80", i)
			s.seen.instances[address] = instance{address: address, serving: i < tt.serving}
		}
		s.seen.instances["off:80"] = instance{address: "off:80", drained: true}
		l, _ := s.list(time.Now())
		want := 0
		if tt.panics {
			want = tt.ill
		}
		if l.panicked != want || len(l.addresses) != tt.serving+want {
			t.Errorf("%+v: %d of %d are given in panic", tt, l.panicked, len(l.addresses))
		}
	}
}

// TestServiceDeletedAndSetAgain: SERVICE itself, which an operator set.
func TestServiceDeletedAndSetAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *registry, c *conn) {
		r.both(1, is(a1, client.Serving))
		for range 3 {
			r.off(true)
			c.has(t, "none")
			r.off(false) // deleted
			c.has(t, a1)
		}
		r.off(true)
		r.gone("a", 2, "checkout/"+a1)
		r.say("b", 3, is(a1, client.Serving))
		c.has(t, "none")
		r.off(false)
		c.has(t, a1)
	})
}
