package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
)

// TestReloadIsNoFlap: what did not change keeps its state; a service whose checks changed keeps its status until they
// have run.
func TestReloadIsNoFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		same, old, slow := &probe{}, &probe{}, &probe{}
		slow.hangs.Store(true)
		failing := &probe{}
		failing.failing.Store(true)
		pushed := watched("pushed")
		a := start(t, reg, file(watched("same", checked("c", "1", same)), watched("other", checked("c", "1", old)), watched("ill", checked("c", "1", failing)), pushed))
		if err := a.push("pushed", serving, "up"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		before, runs := len(reg.all()), same.runs.Load()
		var changed []<-chan struct{}
		for _, name := range []string{"same", "other", "ill", "pushed"} {
			changed = append(changed, a.changed(name))
		}
		a.mustReload(file(watched("same", checked("c", "1", same)), watched("other", checked("c", "2", slow)), watched("ill", checked("d", "1", slow)), pushed, watched("new")))
		synctest.Wait()
		for i, c := range changed {
			select {
			case <-c:
				t.Errorf("what is shown of service %d changed", i)
			default:
			}
		}
		if got := same.runs.Load(); got != runs {
			t.Errorf("the check that did not change ran %d times more", got-runs)
		}
		a.shows("other", serving)
		a.shows("ill", notServing)
		if runs := old.runs.Load(); runs == 0 {
			t.Error("the old check never ran")
		} else if time.Sleep(10 * time.Second); old.runs.Load() != runs {
			t.Error("the old check goes on")
		}
		reg.mu.Lock()
		if len(reg.views) != 1 {
			t.Errorf("%d views run", len(reg.views))
		}
		reg.mu.Unlock()
		if got := len(reg.all()); got != before {
			t.Errorf("%v was written by the reload", reg.all()[before:])
		}
		time.Sleep(time.Minute)
		a.shows("other", notServing) // the result of the new check: it is late
		if got := valueOf(t, a.reloads.total.WithLabelValues("ok")); got != 1 {
			t.Errorf("%v reloads are counted", got)
		}
	})
}

// TestReloadRemovesByTheOldOnStop: a service that is gone ends as the end of the agent would have it; then nothing is
// known of it.
func TestReloadRemovesByTheOldOnStop(t *testing.T) {
	for stop, want := range map[client.OnStop]client.Status{client.StopNotServing: notServing, client.StopWithdraw: missing, client.StopLeave: serving} {
		t.Run(stop.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, p := newFakeRegistry(), &probe{}
				s := watched("gone", checked("c", "1", p))
				s.OnStop = stop
				a := start(t, reg, file(s, watched("stays", checked("c", "1", &probe{}))))
				a.reported("gone/"+address, serving)
				a.mustReload(file(watched("stays", checked("c", "1", &probe{}))))
				a.reported("gone/"+address, want)
				a.shows("gone", missing)
				runs := p.runs.Load()
				time.Sleep(time.Minute)
				if p.runs.Load() != runs {
					t.Error("its check goes on")
				}
				if reg.keeps(stop, "gone/"+address) {
					t.Error("the lease would report it anew")
				}
				a.reports.mu.Lock()
				rows := len(a.reports.rows)
				a.reports.mu.Unlock()
				if rows != 1 {
					t.Errorf("%d rows of reports are left, want 1", rows)
				}
				if err := a.push("gone", serving, ""); err != errNotWatched {
					t.Errorf("push returns %v", err)
				}
				// It comes back as a new one.
				p.failing.Store(true)
				a.mustReload(file(s, watched("stays", checked("c", "1", &probe{}))))
				a.reported("gone/"+address, notServing)
				a.shows("gone", notServing)
			})
		})
	}
}

// TestReloadMovesBetweenLeases: a service with another on_stop is not withdrawn meanwhile, and the old lease forgets it.
func TestReloadMovesBetweenLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		s := watched("shop", checked("c", "1", &probe{}))
		a := start(t, reg, file(s))
		s.OnStop = client.StopWithdraw
		a.mustReload(file(s))
		synctest.Wait()
		if got := reg.statuses("shop/" + address); !slices.Equal(got, []client.Status{serving, serving}) {
			t.Errorf("written was %v", got)
		}
		if reg.keeps(client.StopNotServing, "shop/"+address) || !reg.keeps(client.StopWithdraw, "shop/"+address) {
			t.Error("the service did not move to the other lease")
		}
		a.stop()
		a.reported("shop/"+address, missing)
	})
}

// TestReloadMovesAnInstance: the old name ends by on_stop, the new one is reported, and local clients see no change.
func TestReloadMovesAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		s := watched("shop", checked("c", "1", &probe{}))
		s.OnStop = client.StopWithdraw
		a := start(t, reg, file(s))
		changed := a.changed("shop")
		s.Instance = "10.0.0.7:9090"
		a.mustReload(file(s))
		a.reported("shop/"+address, missing)
		a.reported("shop/10.0.0.7:9090", serving)
		reg.override("shop/10.0.0.7:8080", notServing)
		synctest.Wait()
		select {
		case <-changed:
			t.Error("local clients were told something")
		default:
		}
		reg.override("shop/10.0.0.7:9090", notServing)
		a.shows("shop", notServing)
	})
}

// TestReloadIsAllOrNothing: what is wrong anywhere changes nothing.
func TestReloadIsAllOrNothing(t *testing.T) {
	kept, p := watched("kept", checked("c", "1", &probe{})), &probe{}
	added := watched("added", checked("c", "1", &probe{}))
	bad := checked("c", "1", &probe{})
	bad.Options = append(bad.Options, checks.Interval(-1))
	with := func(change func(*config.Config)) *config.Config {
		c := file(added, kept)
		change(c)
		return c
	}
	for name, tt := range map[string]struct {
		cfg  *config.Config
		says string
	}{
		"a check":         {file(added, watched("kept", checked("c", "2", p)), watched("zbad", bad)), "interval"},
		"a name":          {file(added, watched("rollcall.x")), "name"},
		"twice":           {file(added, kept, kept), "twice"},
		"the same check":  {file(added, watched("kept", checked("c", "2", p), checked("c", "3", p))), "already"},
		"ttl":             {with(func(c *config.Config) { c.TTL = time.Minute }), "needs a restart: ttl"},
		"forget_after":    {with(func(c *config.Config) { c.ForgetAfter = time.Minute }), "needs a restart: forget_after"},
		"endpoints":       {with(func(c *config.Config) { c.Endpoints = []string{"b:1"} }), "needs a restart: cluster.endpoints"},
		"listen, grpc":    {with(func(c *config.Config) { c.GRPC = "127.0.0.1:1" }), "needs a restart: listen.grpc"},
		"listen, http":    {with(func(c *config.Config) { c.HTTP = "127.0.0.1:1" }), "needs a restart: listen.http"},
		"instance":        {with(func(c *config.Config) { c.Instance = address }), "needs a restart: instance"},
		"pushes":          {with(func(c *config.Config) { c.AllowRemotePush = true }), "needs a restart: listen.allow_remote_push"},
		"several of them": {with(func(c *config.Config) { c.HTTP, c.TTL = "127.0.0.1:1", time.Minute }), "ttl, listen.http"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := newFakeRegistry()
				a := start(t, reg, file(kept, watched("pushed")))
				if err := a.push("pushed", serving, ""); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				before, followed := len(reg.all()), a.opinions.newest()
				err := a.Reload(tt.cfg)
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("Reload returns %v, want what says %q", err, tt.says)
				}
				time.Sleep(time.Minute)
				a.shows("kept", serving)
				a.shows("pushed", serving)
				a.shows("added", missing)
				if got := len(reg.all()); got != before || p.runs.Load() != 0 || a.opinions.newest() != followed {
					t.Errorf("something has changed: written was %v", reg.all()[before:])
				}
				if got := valueOf(t, a.reloads.total.WithLabelValues("refused")); got != 1 {
					t.Errorf("%v refused reloads are counted", got)
				}
				if got := valueOf(t, a.reloads.successful); got != 0 {
					t.Errorf("the last reload counts as %v", got)
				}
			})
		})
	}
}

// TestReloadTurnsChecksIntoPushesAndBack: neither has what the other said, and what an earlier life of the checks said
// counts no more.
func TestReloadTurnsChecksIntoPushesAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probe{}
		a := start(t, newFakeRegistry(), file(watched("shop", checked("c", "1", p)), watched("other")))
		a.shows("shop", serving)
		a.mustReload(file(watched("shop"), watched("other")))
		a.shows("shop", unknown)
		time.Sleep(2 * time.Second)
		a.reported("shop/"+address, unknown)
		if err := a.push("shop", serving, ""); err != nil {
			t.Fatal(err)
		}
		a.shows("shop", serving)
		a.mustReload(file(watched("shop", checked("c", "1", p)), watched("other")))
		p.failing.Store(true)
		time.Sleep(2 * time.Second)
		a.shows("shop", notServing)
		for range 20 { // the runner tells of lives that are over
			a.mustReload(file(watched("other")))
			a.mustReload(file(watched("shop", checked("c", "1", p)), watched("other")))
			a.shows("shop", notServing)
		}
	})
}

// TestReloadOfTTL: a ttl check that comes, or changes, goes on from the last push.
func TestReloadOfTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, newFakeRegistry(), file(watched("shop", ttl(10*time.Second))))
		if err := a.push("shop", serving, ""); err != nil {
			t.Fatal(err)
		}
		a.shows("shop", serving)
		a.mustReload(file(watched("shop", ttl(time.Minute))))
		time.Sleep(50 * time.Second)
		a.shows("shop", serving)
		time.Sleep(11 * time.Second)
		a.shows("shop", notServing)
		if err := a.push("shop", serving, ""); err != nil {
			t.Fatal(err)
		}
		a.shows("shop", serving)
	})
}

// TestReloadWhileTheAgentDoesNotRun is refused.
func TestReloadWhileTheAgentDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		if err := newAgent(file(watched("a")), reg.registry(), nil).Reload(file(watched("b"))); err == nil {
			t.Error("a reload before Run is taken")
		}
		a := start(t, reg, file(watched("a")))
		a.stop()
		if err := a.Reload(file(watched("b"))); err == nil {
			t.Error("a reload after Run is taken")
		}
		a.shows("b", missing)
	})
}

// valueOf returns the value of a counter or a gauge.
func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// TestReloadWaitsForWhatTheRunnerHasToTell: what it still tells of checks that are gone would be taken for the word of
// those that come. The end of the agent ends the wait.
func TestReloadWaitsForWhatTheRunnerHasToTell(t *testing.T) {
	for _, ends := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := start(t, newFakeRegistry(), file(watched("shop")))
			if err := a.services.Report("shop", serving, ""); err != nil { // of an earlier life
				t.Fatal(err)
			}
			reloaded := make(chan error, 1)
			slow := &probe{}
			slow.hangs.Store(true)
			go func() { reloaded <- a.Reload(file(watched("shop", checked("c", "1", slow)), watched("other"))) }()
			time.Sleep(time.Minute)
			select {
			case err := <-reloaded:
				t.Fatalf("Reload returns %v at once", err)
			default:
			}
			if ends {
				a.stop()
				if err := <-reloaded; err != errEnded {
					t.Errorf("Reload returns %v", err)
				}
				a.shows("other", missing)
				return
			}
			if err := a.services.Report("shop", missing, ""); err != nil {
				t.Fatal(err)
			}
			if err := <-reloaded; err != nil {
				t.Error(err)
			}
			a.shows("shop", unknown)
		})
	}
}
