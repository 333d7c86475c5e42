package view

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// TestDenied: who may read no more keeps what was said, says why it hears nothing, and tries slowly until it may.
func TestDenied(t *testing.T) {
	for reason, code := range map[string]codes.Code{client.ReasonDenied: codes.PermissionDenied, client.ReasonTokenRevoked: codes.Unauthenticated} {
		inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing); r.set("open", client.Serving) }, []string{shop, "open"}, nil, func(v *running) {
			if err := v.Err(); err != nil {
				t.Errorf("%v while it hears nodes", err)
			}
			refuse := func(err error) {
				v.r.do(func() {
					for _, n := range v.r.nodes {
						n.refusal = err
					}
				})
			}
			refuse(refused(code, reason, map[string]string{"identity": "token:ci", "verb": "read"}))
			v.after(time.Second)
			began := v.r.calls()
			v.r.set(shop, client.Serving)
			v.after(time.Hour)
			v.is(shop, "NOT_SERVING in c1, off")
			v.is("open", "SERVING in c1")
			if n := v.r.calls() - began; n > 350 {
				t.Errorf("%d watches were opened in an hour", n)
			}
			if e, ok := v.Err().(*client.Error); !ok || e.Reason != reason {
				t.Errorf("it says %v", v.Err())
			}
			if n := v.logs.count("cannot be followed"); n == 0 || n > 3 {
				t.Errorf("that is logged %d times", n)
			}
			refuse(nil)
			v.after(time.Minute)
			v.is(shop, "SERVING in c1")
			if err := v.Err(); err != nil || v.Silent() != 0 {
				t.Errorf("%v, silent for %v", err, v.Silent())
			}
			for _, n := range v.r.nodes {
				n.kill()
			}
			v.after(10 * time.Second)
			if err := v.Err(); client.IsDenied(err) || client.IsUnauthenticated(err) || v.Silent() == 0 {
				t.Errorf("no node is there, and it says %v, silent for %v", err, v.Silent())
			}
		})
	}
}

// TestAccessChanges: a watch that ends because what may be read has changed begins anew, and nothing shows it.
func TestAccessChanges(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing) }, justShop, nil, func(v *running) {
		changed := v.Changed()
		v.r.do(func() {
			for _, n := range v.r.nodes {
				n.refusal = refused(codes.Unavailable, client.ReasonAccessChanged, nil)
			}
		})
		v.r.do(func() {
			for _, n := range v.r.nodes {
				n.refusal = nil
			}
		})
		v.after(2 * time.Second)
		v.is(shop, "NOT_SERVING in c1, off")
		if v.Silent() != 0 || v.logs.count("cannot be followed") > 0 {
			t.Error("it shows")
		}
		select {
		case <-changed:
			t.Error("Changed is closed")
		default:
		}
		v.r.set(shop, client.Serving)
		v.after(time.Millisecond)
		v.is(shop, "SERVING in c1")
	})
}
