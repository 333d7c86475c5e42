package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/client"
)

// A page that watches services loses its node, and goes on at another one: it is sent what it missed, and nothing else.
// So does one that watches events. A node that stops says so.
func TestProcessSSE(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	const many = 50
	for i := range many {
		c.set(fmt.Sprintf("shop/%d", i), client.Serving)
	}
	first, second := c.others(c.leader())[0], c.others(c.leader())[1]
	path := func(p *process, what string) string { return "http://" + p.http + "/api/v1/" + what }
	const services, events = "services:watch?view=status&prefixes=shop/", "events:watch?from_revision=1&prefixes=shop/"

	s := sseState{}
	r := openSSE(t, path(first, services), "", true)
	s.read(r, 1)
	for i := range many {
		if s.statuses[fmt.Sprintf("shop/%d", i)] != "SERVING" {
			t.Fatalf("%v", s.statuses)
		}
	}
	e := openSSE(t, path(first, events), "", false)
	seen, last := 0, ""
	readEvents := func(r *sseReader, want int) {
		t.Helper()
		for seen < want {
			one, err := r.next()
			if err != nil {
				t.Fatalf("%s after %d events: %v", r.res.Status, seen, err)
			}
			var m struct{ Events []struct{ Revision int64 } }
			if err := json.Unmarshal(one.data, &m); err != nil {
				t.Fatalf("%s: %v", one.data, err)
			}
			if seen += len(m.Events); one.id != "" {
				last = one.id
			}
		}
	}
	readEvents(e, many)

	first.kill()
	for _, r := range []*sseReader{r, e} {
		if _, err := io.ReadAll(r.lines); err == nil {
			t.Error("a stream of a node that was killed ended well")
		}
	}
	c.set("shop/1", client.NotServing, second)
	c.set("shop/new", client.Serving, second)
	c.set("other", client.Serving, second)
	if _, errOut, code := c.rollcall("delete", "shop/2"); code != 0 {
		t.Fatal(errOut)
	}
	eventually(t, "an override", func(context.Context) bool { // the feature level rises soon after the start
		_, _, code := c.rollcall("override", "set", "shop/3", "not_serving", "--reason", "test")
		return code == 0
	})
	status, err := c.client(second).ClusterStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(s.statuses)
	want["shop/1"], want["shop/new"], want["shop/3"] = "NOT_SERVING", "SERVING", "NOT_SERVING"
	delete(want, "shop/2")
	r = openSSE(t, path(second, services), s.id, true)
	s.read(r, status.GetRevision())
	if !s.resumed || s.records != 4 || !maps.Equal(s.statuses, want) {
		t.Errorf("resumed %v, %d records, %v; want %v", s.resumed, s.records, s.statuses, want)
	}
	e = openSSE(t, path(second, events), last, false)
	readEvents(e, many+4) // two reports, a deletion, an override

	second.stop()
	for _, r := range []*sseReader{r, e} {
		var end sseEvent
		for {
			one, err := r.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			end = one
		}
		if end.name != "error" || !strings.Contains(string(end.data), `"reason":"STOPPING"`) || !strings.Contains(string(end.data), `"code":"UNAVAILABLE"`) {
			t.Errorf("a node that stopped ended a stream with %s %s", end.name, end.data)
		}
	}

	// A new cluster knows nothing of the old one's revisions.
	other := startProcesses(t, processOptions{nodes: 1})
	other.set("shop/x", client.Serving)
	s.read(openSSE(t, path(other.nodes[0], services), s.id, true), 1)
	if s.resumed || len(s.statuses) != 1 {
		t.Errorf("resumed %v, %v", s.resumed, s.statuses)
	}
	res, err := http.Get(path(other.nodes[0], events) + "&last_event_id=" + last)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusConflict || !strings.Contains(string(body), "CLUSTER_CHANGED") {
		t.Errorf("%s %s", res.Status, body)
	}
}

// webWatch are streams of services and of events of one node, up to date.
type webWatch struct {
	node             *process
	services, events *sseReader
	state            sseState
	lastEvent        string
}

const webServices, webEvents = "services:watch?view=status", "events:watch?from_revision=1"

func (c *processes) watchOverHTTP(p *process) *webWatch {
	c.t.Helper()
	status, err := c.client(p).ClusterStatus(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	w := &webWatch{node: p}
	w.services, w.events = w.open(c.t, webServices, ""), w.open(c.t, webEvents, "")
	w.state.read(w.services, status.GetRevision())
	_, w.lastEvent = readSSEEvents(w.events, status.GetRevision())
	return w
}

func (w *webWatch) open(t testing.TB, what, last string) *sseReader {
	return openSSE(t, "http://"+w.node.http+"/api/v1/"+what, last, false)
}

// afterRestore checks that both streams have ended with a reason, and how they go on at a node of the cluster that a backup
// was restored into: the one of services begins anew, the one of events is refused, as its history is another one.
func (w *webWatch) afterRestore(cluster string, want map[string]string) {
	t := w.services.t
	t.Helper()
	for _, r := range []*sseReader{w.services, w.events} {
		var end sseEvent
		for {
			one, err := r.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %s %s: %v", end.name, end.data, err)
			}
			end = one
		}
		if end.name != "error" || !strings.Contains(string(end.data), `"reason":"STOPPING"`) {
			t.Errorf("a stream of a node that stopped ended with %s %s", end.name, end.data)
		}
	}
	before := w.state.id
	w.state.read(w.open(t, webServices, before), 1)
	if w.state.resumed || !maps.Equal(w.state.statuses, want) || !strings.Contains(w.state.id, "@"+cluster) {
		t.Errorf("the stream of services goes on after %s (resumed: %v) with %v of %s, want %v", before, w.state.resumed, w.state.statuses, w.state.id, want)
	}
	refused := w.open(t, webEvents, w.lastEvent)
	if body, _ := io.ReadAll(refused.res.Body); refused.res.StatusCode != http.StatusConflict || !strings.Contains(string(body), `"reason":"CLUSTER_CHANGED"`) {
		t.Errorf("the stream of events goes on after %s: %s %s", w.lastEvent, refused.res.Status, body)
	}
}
