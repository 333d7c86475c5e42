package client_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/client"
)

// A step of a story: what happens to the cluster at some moment.
type step struct {
	what   string
	node   int
	status client.Status
	amount int // revisions, or milliseconds
}

func (s step) String() string {
	return fmt.Sprintf("%s n%d %v %d", s.what, s.node+1, s.status, s.amount)
}

func (s step) do(f *fakeCluster) {
	n := f.nodes[s.node]
	switch s.what {
	case "write":
		f.write(event{service: "a", status: s.status})
	case "write other":
		f.write(event{service: "b", status: s.status})
	case "follow":
		f.do(func() { n.applied = min(n.applied+1+int64(s.amount%4), int64(len(f.events))) })
	case "kill":
		n.kill()
	case "break":
		n.breakConnections()
	case "start":
		if n.server == nil {
			n.start()
		}
	case "drain":
		n.drain()
	case "end of drain":
		f.do(func() { n.draining = false })
	case "hang":
		f.do(func() { n.hung = true })
	case "wake":
		f.do(func() { n.hung = false })
	case "override":
		f.override([]string{"a", "*", "b"}[s.amount%3], serving)
	case "clear":
		f.clear([]string{"a", "*", "b"}[s.amount%3])
	case "compact":
		f.do(func() { f.oldest = max(f.oldest, int64(len(f.events)-s.amount%8)) })
	case "older":
		f.do(func() { n.ignoresFrom = true })
	case "newer":
		f.do(func() { n.ignoresFrom = false })
	case "parts":
		f.do(func() { n.parts = s.amount%2 == 0 })
	case "stall":
		f.do(func() { n.stalled = true })
	case "go on":
		f.do(func() { n.stalled = false })
	case "read lag":
		f.do(func() { n.readLag = time.Duration(s.amount) * time.Millisecond })
	case "watch lag":
		f.do(func() { n.watchLag = time.Duration(s.amount) * time.Millisecond })
	case "sleep":
		time.Sleep(time.Duration(s.amount) * time.Millisecond)
	case "long sleep":
		time.Sleep(time.Duration(s.amount) * 20 * time.Millisecond)
	}
}

func drawStory(t *rapid.T) []step {
	// What is listed often happens often.
	kinds := []string{"write", "write", "write", "write other", "follow", "follow", "follow", "follow", "sleep", "sleep", "sleep",
		"long sleep", "kill", "start", "start", "drain", "end of drain", "hang", "wake", "read lag", "watch lag"}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what:   rapid.SampledFrom(kinds).Draw(t, "what"),
			node:   rapid.IntRange(0, 2).Draw(t, "node"),
			status: rapid.SampledFrom([]client.Status{serving, notServing, unknown, missing}).Draw(t, "status"),
			amount: rapid.IntRange(0, 300).Draw(t, "amount"),
		}
	}), 1, 80).Draw(t, "story")
}

// tell runs a story, lets all nodes recover and catch up, and returns what a watch gave.
func tell(t *testing.T, story []step) (given []client.Update, log []event, err error) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		f.lagging = true
		w := watch(t, f.client(t), "a")
		w.told() // the first round finds all nodes
		for _, s := range story {
			s.do(f)
		}
		f.do(func() {
			for _, n := range f.nodes {
				n.applied, n.hung, n.draining = int64(len(f.events)), false, false
				n.readLag, n.watchLag = 0, 0
			}
		})
		for _, n := range f.nodes {
			if n.server == nil {
				n.start()
			}
		}
		time.Sleep(time.Minute)
		w.told()
		w.mu.Lock()
		defer w.mu.Unlock()
		given, log, err = w.updates, f.events, w.err
		if w.ended && err == nil {
			err = errors.New("the watch ended")
		}
	})
	return given, log, err
}

// checkStory holds what a watch gave against the log (P5).
func checkStory(given []client.Update, log []event) error {
	at := func(revision int64) (client.Status, int64) { // status, and since which revision
		for i := revision; i > 0; i-- {
			if e := log[i-1]; e.service == "a" {
				return e.status, i
			}
		}
		return missing, 0
	}
	since := int64(-1)
	for i, u := range given {
		status, began := at(u.Revision)
		switch {
		case u.Status != status:
			return fmt.Errorf("update %d is %v, but at its revision %d it was %v", i, u.Status, u.Revision, status)
		case (u.Status == missing) != (u.Record == nil):
			return fmt.Errorf("update %d is %v with record %v", i, u.Status, u.Record)
		case i > 0 && u.Status == given[i-1].Status:
			return fmt.Errorf("update %d repeats %v", i, u.Status)
		case began <= since:
			return fmt.Errorf("update %d goes back from revision %d to %d", i, since, began)
		}
		since = began
	}
	if len(given) == 0 {
		return errors.New("nothing was given")
	}
	if want, _ := at(int64(len(log))); given[len(given)-1].Status != want {
		return fmt.Errorf("the last update is %v, the last status %v", given[len(given)-1].Status, want)
	}
	return nil
}

// P5 for our client: whatever nodes do, and however it moves among them, a watch never goes back,
// never repeats a status, and gives the last one in the end.
func TestWatchConvergesAndNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		story := drawStory(rt)
		given, log, err := tell(t, story)
		if err == nil {
			err = checkStory(given, log)
		}
		if err != nil {
			rt.Fatalf("%v\ngiven: %v\nlog: %v", err, given, log)
		}
	})
}

func FuzzWatchConverges(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) {
			given, log, err := tell(t, drawStory(rt))
			if err == nil {
				err = checkStory(given, log)
			}
			if err != nil {
				rt.Fatal(err)
			}
		})(t, data)
	})
}
