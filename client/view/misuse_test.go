package view

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

func newClient(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestNewRefuses(t *testing.T) {
	c := newClient(t)
	var many []string
	for i := range 10_001 {
		many = append(many, fmt.Sprint("s/", i))
	}
	for what, test := range map[string]struct {
		c     *client.Client
		names []string
		opts  []Option
		want  string
	}{
		"no client":      {nil, justShop, nil, "view: the client is nil"},
		"no name":        {c, nil, nil, "view: no name is given"},
		"empty":          {c, []string{shop, ""}, nil, `view: a name is empty; "" is the node's own`},
		"own":            {c, []string{"rollcall.live"}, nil, `view: a name "rollcall.live" begins with "rollcall.", which is kept for the node's own names`},
		"pattern":        {c, []string{"shop/*"}, nil, "'*' at byte 6 is not allowed"},
		"too long":       {c, []string{strings.Repeat("s", 257)}, nil, "is 257 bytes long; at most 256 are allowed"},
		"no UTF-8":       {c, []string{"\xff"}, nil, "is not valid UTF-8"},
		"too many":       {c, many, nil, "view: 10001 names are given; at most 10000 are allowed"},
		"nil option":     {c, justShop, []Option{nil}, "view: an option is nil"},
		"without logger": {c, justShop, []Option{WithLogger(nil)}, "view: the logger is nil"},
	} {
		if v, err := New(test.c, test.names, test.opts...); v != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	v, err := New(c, append(many[:10_000:10_000], many[0]))
	if err != nil || len(v.Names()) != 10_000 || v.Names()[1] != "s/1" {
		t.Errorf("10,000 names, one of them twice: %v", err)
	}
	v.Names()[0] = "changed"
	if v.Names()[0] != "s/0" {
		t.Error("Names can be changed")
	}
}

func TestBeforeRunAndAfter(t *testing.T) {
	synctestRun(t, func(t *testing.T) {
		v, err := New(newClient(t), justShop)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v.Get(shop) != (Opinion{}) || v.Silent() != time.Second {
			t.Errorf("before Run: %v, silent for %v", v.Get(shop), v.Silent())
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("a cause"))
		if err := v.Run(ctx); err != context.Canceled {
			t.Errorf("Run with a context that has ended: %v", err)
		}
		if err := v.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("Run again: %v", err)
		}
		if v.Get(shop) != (Opinion{}) || v.Changed() == nil {
			t.Error("after Run it is not as before")
		}
	})
	inBubble(t, 3, nil, justShop, nil, func(v *running) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		other, err := New(v.client, justShop)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Run(ctx); err != context.DeadlineExceeded || !other.Get(shop).Heard {
			t.Errorf("Run with a deadline: %v, then %v", err, other.Get(shop))
		}
		time.Sleep(time.Second)
		if other.Silent() != time.Second {
			t.Errorf("a second after Run it is silent for %v", other.Silent())
		}
	})
}

// TestClosedClient: a client that is closed too early is a refusal as others are.
func TestClosedClient(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.NotServing) }, justShop, nil, func(v *running) {
		v.client.Close()
		v.after(time.Hour)
		v.is(shop, "NOT_SERVING in c1, off")
		if n := v.logs.count("cannot be followed"); n != 2 {
			t.Errorf("logged %d times: %q", n, v.logs.lines)
		}
	})
}

// TestNoLostWakeUp has waiters of all kinds while opinions change: each ends with the last one.
func TestNoLostWakeUp(t *testing.T) {
	v, err := New(newClient(t), justShop)
	if err != nil {
		t.Fatal(err)
	}
	const last = 2_000
	var waiters sync.WaitGroup
	for range 8 {
		waiters.Go(func() {
			for {
				changed := v.Changed()
				if v.Get(shop).Record.GetReport().GetRevision() == last {
					return
				}
				<-changed
			}
		})
	}
	for r := int64(1); r <= last; r++ {
		u := client.ServicesUpdate{Revision: r, Cluster: "c", Synced: true}
		u.Services = append(u.Services, reported(shop, client.Serving, r))
		v.update(v.watches[r%2], u)
	}
	waiters.Wait()
}

func TestGetAllocatesNothing(t *testing.T) {
	v, err := New(newClient(t), justShop)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { sink = v.Get(shop) }); n != 0 {
		t.Errorf("Get makes %v allocations", n)
	}
}

var sink Opinion
