package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestEvaluate(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	good := NodeStatus{Loaded: true, Formed: true, Leader: "n2"}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	max := 10 * time.Second
	tests := map[string]struct {
		change   func(st *NodeStatus)
		freshAt  time.Time
		draining bool
		max      time.Duration
		want     verdict
	}{
		"follower":      {func(*NodeStatus) {}, ago(time.Second), false, max, verdict{reads: true, ready: true, again: 9*time.Second + 1}},
		"leader":        {func(st *NodeStatus) { st.Leading = true }, ago(time.Second), false, max, verdict{reads: true, ready: true, leader: true, again: 9*time.Second + 1}},
		"a new leader":  {func(st *NodeStatus) { st.Leading = true }, time.Time{}, false, max, verdict{reads: true, leader: true, heardWhy: "none confirmed since the start"}},
		"just in time":  {func(*NodeStatus) {}, ago(max), false, max, verdict{reads: true, ready: true, again: 1}},
		"too long ago":  {func(*NodeStatus) {}, ago(12 * time.Second), false, max, verdict{reads: true, heardWhy: "none confirmed for 12s"}},
		"no leader now": {func(st *NodeStatus) { st.Leader = "" }, ago(time.Second), false, max, verdict{reads: true, ready: true, again: 9*time.Second + 1}},
		"never":         {func(st *NodeStatus) { st.Leader = "" }, time.Time{}, false, max, verdict{reads: true, heardWhy: "none confirmed since the start"}},
		"not asked":     {func(st *NodeStatus) { st.Leader = "" }, time.Time{}, false, 0, verdict{reads: true, ready: true}},
		"draining":      {func(st *NodeStatus) { st.Leading = true }, now, true, 0, verdict{readsWhy: "stopping"}},
		"not loaded":    {func(st *NodeStatus) { st.Loaded = false }, now, false, 0, verdict{readsWhy: "the registry is not loaded yet"}},
		"not formed":    {func(st *NodeStatus) { st.Formed = false }, now, false, 0, verdict{readsWhy: "no cluster is formed yet"}},
		"forming":       {func(st *NodeStatus) { st.Formed, st.Waiting = false, "waiting for n2" }, now, false, 0, verdict{readsWhy: "waiting for n2"}},
		"failed":        {func(st *NodeStatus) { st.Failed = "disk full" }, now, false, 0, verdict{readsWhy: "disk full"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := good
			tt.change(&st)
			if got := evaluate(st, tt.freshAt, tt.draining, now, tt.max); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestReadinessFollowsTheLeaderAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		n := c.nodes["n1"]
		check := func(when string, want map[string]Status) {
			t.Helper()
			synctest.Wait()
			for name, s := range want {
				if got, ok := n.registry.Status(name); !ok || got != s {
					t.Errorf("%s: %q is %v, want %v", when, name, got, s)
				}
			}
		}
		ready := func(s Status) map[string]Status {
			return map[string]Status{rollcallv1.OwnReady: s, rollcallv1.OwnReads: serving, rollcallv1.OwnLive: serving}
		}
		check("no leader yet", ready(notServing))
		c.elect("n2")
		check("a leader", ready(serving))
		time.Sleep(10 * time.Second)
		check("at the limit", ready(serving))
		time.Sleep(time.Millisecond)
		check("after the limit", ready(notServing))
		// The leader was there all the time, but the node does not keep itself fresh before it is told to.
		n.KeepFresh()
		check("confirmed again", ready(serving))
		time.Sleep(time.Minute)
		check("a minute later", ready(serving))
		c.nodes["n2"].agreement.onReadIndex(func(context.Context) (uint64, error) { return 0, errors.New("no quorum") })
		time.Sleep(7 * time.Second)
		check("without a quorum, at first", ready(serving))
		time.Sleep(3*time.Second + time.Millisecond)
		check("without a quorum", ready(notServing))
		c.nodes["n2"].agreement.onReadIndex(nil)
		time.Sleep(time.Second)
		check("with a quorum again", ready(serving))
		// An index that this node has not applied makes it no fresher.
		c.nodes["n2"].agreement.onReadIndex(func(context.Context) (uint64, error) { return 7, nil })
		time.Sleep(11 * time.Second)
		check("behind", ready(notServing))
		n.registry.apply(7)
		check("caught up", ready(serving))
		n.agreement.change(func(st *NodeStatus) { st.Formed, st.Waiting = false, "waiting for n2" })
		check("not formed", map[string]Status{rollcallv1.OwnReady: notServing, rollcallv1.OwnReads: notServing, rollcallv1.OwnLive: serving})
	})
}

func TestLeaderName(t *testing.T) {
	c := newTestCluster(t, 2)
	c.elect("n2")
	ctx := patient(t)
	streams := map[string]healthpb.Health_WatchClient{}
	for _, name := range c.names {
		var err error
		if streams[name], err = c.nodes[name].health().Watch(ctx, &healthpb.HealthCheckRequest{Service: rollcallv1.OwnLeader}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want map[string]Status) {
		t.Helper()
		for name, stream := range streams {
			if res, err := stream.Recv(); err != nil || res.GetStatus() != want[name] {
				t.Fatalf("%s, %s: %v %v, want %v", when, name, res, err, want[name])
			}
		}
	}
	check("elected", map[string]Status{"n1": notServing, "n2": serving})
	// Nothing but Agreement.Changed tells the server of this.
	for _, name := range c.names {
		c.nodes[name].agreement.change(func(st *NodeStatus) { st.Leader, st.Leading = "n1", name == "n1" })
	}
	check("the other one leads", map[string]Status{"n1": serving, "n2": notServing})
}

func TestHTTP(t *testing.T) {
	n := single(t)
	h := n.HTTPHandler()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		body, _ := io.ReadAll(w.Result().Body)
		return w.Code, string(body)
	}
	check := func(path string, code int, body string) {
		t.Helper()
		if c, b := get(path); c != code || b != body {
			t.Errorf("GET %s: %d %q, want %d %q", path, c, b, code, body)
		}
	}
	leaderless := "none confirmed for 12s"
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/livez":                               {200, "ok\n"},
		"/healthz":                             {200, "ok\n"},
		"/readyz":                              {200, "ok\n"},
		"/livez?verbose":                       {200, "[+]ping ok\nlivez check passed\n"},
		"/healthz?verbose=true":                {200, "[+]ping ok\nhealthz check passed\n"},
		"/livez/ping":                          {200, "ok\n"},
		"/healthz/ping":                        {200, "ok\n"},
		"/livez/reads":                         {404, "404 page not found\n"},
		"/readyz/etcd":                         {404, "404 page not found\n"},
		"/readyz/":                             {404, "404 page not found\n"},
		"/readyz/leader/x":                     {404, "404 page not found\n"},
		"/readyz?verbose":                      {200, "[+]reads ok\n[+]leader ok\nreadyz check passed\n"},
		"/readyz/reads":                        {200, "ok\n"},
		"/readyz/leader":                       {200, "ok\n"},
		"/readyz/leader?verbose":               {200, "[+]leader ok\nreadyz/leader check passed\n"},
		"/readyz?exclude=leader":               {200, "ok\n"},
		"/readyz?verbose&exclude=reads":        {200, "[+]reads excluded: ok\n[+]leader ok\nreadyz check passed\n"},
		"/readyz?exclude=etcd":                 {200, "ok\n"},
		"/readyz?verbose&exclude=x&exclude=e":  {200, "[+]reads ok\n[+]leader ok\nwarn: some health checks cannot be excluded: no matches for \"e\",\"x\"\nreadyz check passed\n"},
		"/livez?verbose&exclude=a%0A&exclude=": {200, "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"\",\"a\\n\"\nlivez check passed\n"},
		"/":                                    {404, "404 page not found\n"},
	} {
		check(path, want.code, want.body)
	}

	n.agreement.change(func(st *NodeStatus) {
		st.Leader, st.Leading = "", false
	})
	n.setFresh(time.Now().Add(-12 * time.Second))
	check("/readyz", 200, "ok\n") // fail-static
	check("/readyz?verbose", 200, "[+]reads ok\n[i]leader: "+leaderless+"; counts in /readyz/leader only\nreadyz check passed\n")
	check("/readyz/leader", 503, "[-]leader failed: "+leaderless+"\nreadyz/leader check failed\n")
	check("/readyz/reads", 200, "ok\n")

	n.BeginDrain()
	check("/livez", 200, "ok\n")
	check("/healthz", 200, "ok\n")
	check("/readyz", 503, "[-]reads failed: stopping\n[i]leader: stopping; counts in /readyz/leader only\nreadyz check failed\n")
	check("/readyz?exclude=leader", 503, "[-]reads failed: stopping\n[+]leader excluded: ok\nreadyz check failed\n")
	check("/readyz?exclude=reads", 200, "ok\n")
	check("/readyz/reads", 503, "[-]reads failed: stopping\nreadyz/reads check failed\n")
}
