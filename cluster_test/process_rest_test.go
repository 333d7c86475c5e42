package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// restAnswer is an answer of the API over HTTP: a record, or an error.
type restAnswer struct {
	status  int
	Service struct {
		Status string `json:"status"`
		Report struct {
			Revision int64 `json:"revision"`
		} `json:"report"`
	} `json:"service"`
	Revision int64  `json:"revision"`
	Reason   string `json:"reason"`
	Written  string `json:"written"`
	Message  string `json:"message"`
}

// rest sends a request to a node, as curl does. The error is that there was no answer.
func (p *process) rest(ctx context.Context, method, path, body string, headers ...string) (restAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.http+"/api/v1/"+path, nil)
	if err != nil {
		return restAnswer{}, err
	}
	if body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return restAnswer{}, err
	}
	defer res.Body.Close()
	a := restAnswer{status: res.StatusCode}
	return a, json.NewDecoder(res.Body).Decode(&a)
}

// TestProcessRESTLeaderKilled writes over HTTP through all nodes while the leader is killed: no acknowledged change is
// lost, what is said not to be written is not, and what is unknown is settled by sending it again with its request id.
func TestProcessRESTLeaderKilled(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{args: []string{"--web-writes"}})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c.set("before", serving)
	c.caughtUp()
	var (
		mu          sync.Mutex // guards what follows
		done        = map[string]int64{}
		not         = map[string]string{}
		settled     int
		acked       atomic.Int64
		writers     sync.WaitGroup
		writing     = make(chan struct{})
		stopWriting = sync.OnceFunc(func() { close(writing) })
	)
	defer stopWriting()
	over := func() bool {
		select {
		case <-writing:
			return true
		default:
			return ctx.Err() != nil
		}
	}
	for w := range 6 {
		writers.Go(func() {
			for i := 0; !over(); i++ {
				name := fmt.Sprintf("rest/%d/%d", w, i)
				body := fmt.Sprintf(`{"status":"SERVING","reason":"load","request_id":%q}`, name)
				unsettled := false
				for try := 0; ; try++ {
					a, err := c.nodes[(w+try)%len(c.nodes)].rest(ctx, "PUT", "services/"+name, body, "Rollcall-Timeout: 4s")
					mu.Lock()
					switch {
					case err == nil && a.status == http.StatusOK:
						done[name] = a.Revision
						if unsettled {
							settled++
						}
						acked.Add(1)
					case err == nil && a.Written == "no" && !unsettled:
						not[name] = a.Reason + ": " + a.Message
					case err == nil && a.Written != "no" && a.Written != "unknown":
						t.Errorf("PUT %s: %d %+v", name, a.status, a)
					default:
						unsettled = true // also when the node died before it answered
					}
					over := done[name] != 0 || not[name] != ""
					mu.Unlock()
					if over || ctx.Err() != nil {
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	await := func(n int64) {
		t.Helper()
		for want := acked.Load() + n; acked.Load() < want; time.Sleep(10 * time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("%d changes are acknowledged", acked.Load())
			}
		}
	}
	for range 2 {
		await(100)
		leader := c.leader()
		leader.kill()
		await(50)
		leader.start()
	}
	await(50)
	stopWriting()
	writers.Wait()
	c.waitReady()
	c.caughtUp()
	t.Logf("%d changes acknowledged, %d of them after their outcome was unknown, %d said not to be written", len(done), settled, len(not))
	if settled == 0 {
		t.Log("no change was under way in a leader that died")
	}
	for i, p := range c.nodes {
		for name, revision := range done {
			a, err := p.rest(ctx, "GET", "services/"+name, "")
			if err != nil || a.status != http.StatusOK || a.Service.Status != "SERVING" || a.Service.Report.Revision != revision {
				t.Errorf("%s: %s was acknowledged at revision %d: %v %+v", p.name, name, revision, err, a)
			}
		}
		for name, why := range not {
			a, err := p.rest(ctx, "GET", "services/"+name, "", "Rollcall-Consistency: linearizable")
			if err != nil || a.status != http.StatusNotFound {
				t.Errorf("%s: %s was said not to be written (%s): %v %+v", p.name, name, why, err, a)
			}
		}
		if t.Failed() {
			t.Fatalf("after node %d", i)
		}
	}
}
