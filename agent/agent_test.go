package agent

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestNothingIsSaidBeforeTheFirstResult: no UNKNOWN is written first, and of a service that is pushed nothing before a
// push.
func TestNothingIsSaidBeforeTheFirstResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		slow := &probe{}
		slow.hangs.Store(true)
		a := start(t, reg, file(watched("pushed"), watched("quick", checked("c", "1", &probe{})), watched("slow", checked("c", "1", slow))))
		for _, tt := range []struct {
			name string
			want []client.Status
		}{{"quick", []client.Status{serving}}, {"slow", nil}, {"pushed", nil}} {
			if got := reg.statuses(tt.name + "/" + address); !slices.Equal(got, tt.want) {
				t.Errorf("of %s was written %v, want %v", tt.name, got, tt.want)
			}
		}
		a.shows("quick", serving)
		a.shows("slow", unknown)
		a.shows("pushed", unknown)
		if err := a.ready(); err == nil {
			t.Error("ready before the first round of checks is done")
		}
		time.Sleep(2 * time.Minute) // the timeout of slow
		a.shows("slow", notServing)
		if err := a.ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
	})
}

// TestTheWorseOfChecksAndPush: NOT_SERVING, UNKNOWN, SERVING.
func TestTheWorseOfChecksAndPush(t *testing.T) {
	for _, tt := range []struct {
		failing bool
		push    client.Status
		want    client.Status
	}{
		{false, serving, serving}, {false, unknown, unknown}, {false, notServing, notServing},
		{true, serving, notServing}, {true, unknown, notServing}, {true, notServing, notServing},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &probe{}
			p.failing.Store(tt.failing)
			s := watched("shop", checked("c", "1", p))
			s.Push = true
			a := start(t, newFakeRegistry(), file(s))
			if err := a.push("shop", tt.push, ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			a.shows("shop", tt.want)
			a.reported("shop/"+address, tt.want)
			if err := a.release("shop"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			want := map[bool]client.Status{false: serving, true: notServing}[tt.failing]
			a.shows("shop", want)
			a.reported("shop/"+address, want)
		})
	}
}

// TestPushOfWhatTakesNone is refused.
func TestPushOfWhatTakesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newFakeRegistry(), file(watched("shop", checked("c", "1", &probe{}))))
		if err := a.push("shop", notServing, ""); err != errNotPushable {
			t.Errorf("push returns %v", err)
		}
		if err := a.push("other", notServing, ""); err != errNotWatched {
			t.Errorf("push of another service returns %v", err)
		}
		a.shows("shop", serving)
	})
}

// TestTTL: a push keeps the service fresh, and its silence turns it.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newFakeRegistry(), file(watched("shop", ttl(10*time.Second))))
		a.shows("shop", notServing) // a worker that has said nothing is not known to work
		for range 5 {
			if err := a.push("shop", serving, ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(8 * time.Second)
			a.shows("shop", serving)
		}
		time.Sleep(2 * time.Second)
		a.shows("shop", notServing)
		a.reported("shop/"+address, notServing)
		if err := a.push("shop", serving, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.shows("shop", serving)
		a.reported("shop/"+address, serving)
	})
}

// TestOverridesSwitchOff: by either name, by a pattern, and by a report of the name; what the agent reports itself does
// not.
func TestOverridesSwitchOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, p := newFakeRegistry(), &probe{}
		a := start(t, reg, file(watched("shop/cart", checked("c", "1", p)), watched("shop/till", checked("c", "1", &probe{}))))
		for _, name := range []string{"shop/cart", "shop/cart/" + address, "shop/cart/*"} {
			if name == "shop/cart" {
				reg.set(name, serving)
			}
			reg.override(name, notServing)
			a.shows("shop/cart", notServing)
			a.shows("shop/till", serving)
			if _, reasons, _ := a.status("shop/cart"); len(reasons) != 1 || !strings.Contains(reasons[0], "maintenance") || !strings.Contains(reasons[0], name) {
				t.Errorf("the reasons are %q", reasons)
			}
			reg.override(name, missing)
			a.shows("shop/cart", serving)
		}
		reg.set("shop/cart", notServing)
		a.shows("shop/cart", notServing)
		reg.hush(true)
		reg.set("shop/cart", serving)
		time.Sleep(time.Hour)
		a.shows("shop/cart", notServing) // what was heard last stays
		reg.hush(false)
		a.shows("shop/cart", serving)

		p.failing.Store(true)
		time.Sleep(time.Second)
		a.shows("shop/cart", notServing)
		p.failing.Store(false)
		time.Sleep(time.Second)
		a.shows("shop/cart", serving) // though the registry has NOT_SERVING: that was the agent's own word
		if _, reasons, _ := a.status("shop/cart"); reasons != nil {
			t.Errorf("the reasons are %q", reasons)
		}
	})
}

// TestOffInstanceIsHeldWhileTheRegistryDoesNotHaveIt: an override of a pattern shows on names that exist. A registry
// that lost the agent's report, as one founded anew, says nothing of it: so what was off stays off.
func TestOffInstanceIsHeldWhileTheRegistryDoesNotHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		a := start(t, reg, file(watched("shop", checked("c", "1", &probe{}))))
		reg.override("shop/*", notServing)
		a.shows("shop", notServing)
		reg.set("shop/"+address, missing)
		a.shows("shop", notServing)
		reg.do(func() { reg.records["shop/"+address] = fakeRecord{status: serving} })
		a.shows("shop", notServing)
		reg.override("shop/*", missing)
		a.shows("shop", serving)
	})
}

// TestInitialWait: a service that says SERVING is shown as NOT_SERVING until the registry has the agent's report, for
// 500 ms if no node is heard, and for 5 s else.
func TestInitialWait(t *testing.T) {
	for name, tt := range map[string]struct {
		silent, hangs, off bool
		wait               time.Duration
	}{
		"heard": {}, "heard, and off": {off: true},
		"no node": {silent: true, wait: waitUnheard}, "the report is not taken": {hangs: true, wait: waitHeard},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := newFakeRegistry()
				reg.hush(tt.silent)
				reg.hang(tt.hangs)
				defer reg.hang(false)
				if tt.off {
					reg.override("shop/*", notServing)
				}
				a := start(t, reg, file(watched("shop", checked("c", "1", &probe{})), watched("pushed")))
				a.shows("pushed", unknown)
				if tt.off {
					a.shows("shop", notServing)
					return
				}
				if tt.wait > 0 {
					time.Sleep(tt.wait - time.Millisecond)
					a.shows("shop", notServing)
					if _, reasons, _ := a.status("shop"); len(reasons) != 1 || !strings.Contains(reasons[0], "not been heard") {
						t.Errorf("the reasons are %q", reasons)
					}
					time.Sleep(time.Millisecond)
				}
				a.shows("shop", serving)
			})
		})
	}
}

// TestInitialWaitHidesOnlySERVING: what is no better than NOT_SERVING shows as it is, and the wait goes on.
func TestInitialWaitHidesOnlySERVING(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		reg.hush(true)
		a := start(t, reg, file(watched("shop")))
		for _, tt := range []struct{ push, want client.Status }{{serving, notServing}, {unknown, unknown}, {serving, notServing}} {
			if err := a.push("shop", tt.push, ""); err != nil {
				t.Fatal(err)
			}
			a.shows("shop", tt.want)
		}
		time.Sleep(waitUnheard)
		a.shows("shop", serving)
	})
}

// TestInitialWaitOfAServiceThatComesBack is a whole one.
func TestInitialWaitOfAServiceThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		reg.hush(true)
		shop := watched("shop", checked("c", "1", &probe{}))
		a := start(t, reg, file(shop, watched("other")))
		time.Sleep(waitUnheard - time.Millisecond)
		a.mustReload(file(watched("other")))
		a.mustReload(file(shop, watched("other")))
		time.Sleep(waitUnheard - time.Millisecond)
		a.shows("shop", notServing)
		time.Sleep(2 * time.Millisecond)
		a.shows("shop", serving)
	})
}

// TestReportsKeepAPace: of changes within a second the newest goes out, of a new reason alone the newest within a
// minute; local clients are told at once.
func TestReportsKeepAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		a := start(t, reg, file(watched("shop")))
		push := func(s client.Status, reason string) {
			t.Helper()
			if err := a.push("shop", s, reason); err != nil {
				t.Fatal(err)
			}
			a.shows("shop", s)
		}
		begun := time.Now()
		push(serving, "up")
		for range 10 {
			push(notServing, "down")
			push(serving, "up")
		}
		push(notServing, "down")
		time.Sleep(2 * time.Second)
		push(notServing, "first") // until a minute after the last report
		if _, reasons, _ := a.status("shop"); len(reasons) != 1 || reasons[0] != "NOT_SERVING: first" {
			t.Errorf("the reasons are %q", reasons)
		}
		push(notServing, "second")
		time.Sleep(2 * time.Minute)
		push(notServing, "third")
		synctest.Wait()
		want := []event{
			{begun, "", serving, "up"}, {begun.Add(time.Second), "", notServing, "down"},
			{begun.Add(61 * time.Second), "", notServing, "second"}, {begun.Add(122 * time.Second), "", notServing, "third"},
		}
		got := reg.reports("shop/" + address)
		for i := range got {
			got[i].name = ""
		}
		if !slices.Equal(got, want) {
			t.Errorf("reported was\n%v\nwant\n%v", got, want)
		}
	})
}

// TestAlive: a stuck registry and a stuck check are no reason to restart the agent; a lock that is not given back is.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, p := newFakeRegistry(), &probe{}
		p.hangs.Store(true)
		reg.hush(true)
		reg.hang(true)
		defer reg.hang(false)
		a := start(t, reg, file(watched("shop", checked("c", "1", p)), watched("cart", checked("c", "1", &probe{}))))
		time.Sleep(time.Hour)
		alive := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return a.Alive(ctx)
		}
		if err := alive(); err != nil {
			t.Errorf("Alive returns %v", err)
		}
		a.services.mu.Lock()
		err := alive()
		a.services.mu.Unlock()
		if err == nil {
			t.Error("alive though its services are locked")
		}
		a.board.mu.Lock()
		time.Sleep(15 * time.Second) // a reporter and the agenda wait for it
		a.board.mu.Unlock()
		if err := alive(); err != nil {
			t.Errorf("Alive returns %v after the lock came free", err)
		}
		a.agenda.at(time.Now(), func() { time.Sleep(time.Minute) })
		time.Sleep(30 * time.Second)
		if err := alive(); err == nil {
			t.Error("alive though what is due is not done")
		}
		time.Sleep(time.Minute)
		if err := alive(); err != nil {
			t.Errorf("Alive returns %v when it goes on", err)
		}
	})
}

// TestRole: nothing is told before the agent runs.
func TestRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		if got := newAgent(file(watched("shop")), reg.registry(), nil).Role(); got != "starting" {
			t.Errorf("before Run the role is %q", got)
		}
		a := start(t, reg, file(watched("shop"), watched("till", checked("c", "1", &probe{}))))
		if got, want := a.Role(), "watching 2 services: 1 SERVING, 0 NOT_SERVING, 1 UNKNOWN"; got != want {
			t.Errorf("the role is %q, want %q", got, want)
		}
	})
}
