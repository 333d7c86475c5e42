package agent

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// rival is what another reporter, with a lease of its own, reports of a name.
func (r *fakeRegistry) rival(name, lease string, s client.Status, ended bool) {
	r.do(func() { r.records[name] = fakeRecord{status: s, rival: lease, ended: ended} })
}

// TestARivalIsToldAndNotFought: a second agent with the same instance. Its word stands while its lease lives; it is
// told once.
func TestARivalIsToldAndNotFought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := newFakeRegistry()
		a := start(t, reg, file(watched("x", checked("c", "1", &probe{})), watched("y", checked("c", "1", &probe{}))), func(a *Agent) {
			a.logger = slog.New(slog.NewTextHandler(&log, nil))
			a.reports.logger = a.logger
		})
		for range 3 {
			reg.rival("x/"+address, "7", notServing, false)
			reg.rival("y/"+address, "7", notServing, false)
			time.Sleep(10 * time.Second)
		}
		a.reported("x/"+address, notServing)
		a.shows("x", serving)
		synctest.Wait() // before log is read
		one, _ := a.look("x")
		if shown := one.shown(); shown.Rival.GetReport().GetActor().GetName() != "bob" {
			t.Errorf("the page has no rival: %+v", shown)
		}
		if got := strings.Count(log.String(), "another reporter reports this instance, too"); got != 1 || !strings.Contains(log.String(), "by=bob from=10.0.0.8:1") {
			t.Errorf("told %d times:\n%s", got, &log)
		}
		reg.rival("x/"+address, "8", notServing, false)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := strings.Count(log.String(), "another reporter reports this instance, too"); got != 2 {
			t.Errorf("told %d times after another lease:\n%s", got, &log)
		}
	})
}

// TestARivalThatIsGoneLeavesNothing: its lease expired, it withdrew, or it left its report behind. The agent lives and
// reports anew, once.
func TestARivalThatIsGoneLeavesNothing(t *testing.T) {
	for name, leave := range map[string]func(r *fakeRegistry, name string){
		"expired":   func(r *fakeRegistry, name string) { r.rival(name, "7", notServing, true) },
		"withdrawn": func(r *fakeRegistry, name string) { r.set(name, missing) },
		"left":      func(r *fakeRegistry, name string) { r.set(name, notServing) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := newFakeRegistry()
				a := start(t, reg, file(watched("x", checked("c", "1", &probe{}))))
				reg.rival("x/"+address, "7", notServing, false)
				time.Sleep(10 * time.Second)
				leave(reg, "x/"+address)
				time.Sleep(10 * time.Second)
				a.reported("x/"+address, serving)
				if got := reg.statuses("x/" + address); !slices.Equal(got, []client.Status{serving, serving}) {
					t.Errorf("written: %v", got)
				}
				if one, _ := a.look("x"); one.rival != nil {
					t.Errorf("the rival is still told: %v", one.rival)
				}
			})
		})
	}
}

// TestWhatTheRegistryHadBeforeIsNoRival: a node that lags, or another cluster, shows the report of an agent that was
// here before.
func TestWhatTheRegistryHadBeforeIsNoRival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		reg.rival("x/"+address, "7", serving, false)
		reg.hang(true)
		a := start(t, reg, file(watched("x", checked("c", "1", &probe{}))))
		time.Sleep(10 * time.Second)
		if one, _ := a.look("x"); one.rival != nil {
			t.Error("before anything is acknowledged there can be no rival")
		}
		shown, _ := a.look("x")
		reg.hang(false)
		if err := a.reports.leases[client.StopNotServing].ReportBatch(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for _, tt := range []struct {
			what   string
			change func(o *view.Opinion)
			none   bool
		}{
			{"a newer revision", func(o *view.Opinion) {}, false},
			{"an older revision", func(o *view.Opinion) { o.Revision = 1 }, true},
			{"another cluster", func(o *view.Opinion) { o.Cluster = "b" }, true},
			{"what is held", func(o *view.Opinion) { o.Held = true }, true},
			{"what was not heard", func(o *view.Opinion) { o.Heard = false }, true},
		} {
			o := shown.reported
			o.Revision = 1000
			tt.change(&o)
			if rival, gone := a.reports.heard("x/"+address, &o); (rival == nil) != tt.none || gone {
				t.Errorf("%s: rival %v, gone %v", tt.what, rival, gone)
			}
		}
	})
}
