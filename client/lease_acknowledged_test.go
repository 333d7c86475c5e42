package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// TestAcknowledgedAndRewrite: a Lease whose service another one took over, which then ended, says what it had written, and
// writes it again when it is asked to.
func TestAcknowledgedAndRewrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		c := f.client(t)
		mine, other := keep(t, f, c, client.KeepOptions{}), keep(t, f, c, client.KeepOptions{OnStop: client.StopWithdraw})
		if w, ok := mine.Acknowledged("a"); ok {
			t.Errorf("nothing is reported, and %+v is written", w)
		}
		mine.report(t, "a", serving)
		w, ok := mine.Acknowledged("a")
		newest := int64(0) // revision of the report; the other lease may be granted after it
		f.do(func() {
			for i, e := range f.events {
				if e.service == "a" {
					newest = int64(i + 1)
				}
			}
		})
		if want := (client.Acknowledged{LeaseID: mine.ID(), Cluster: f.id, Revision: newest}); !ok || w != want {
			t.Errorf("written: %+v, %v, want %+v", w, ok, want)
		}
		other.report(t, "a", notServing)
		if err := other.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, f, "a", missing)
		if again, ok := mine.Acknowledged("a"); !ok || again.Revision > newest {
			t.Errorf("another lease's write changed %+v to %+v, %v", w, again, ok)
		}
		if err := mine.Submit(client.Report{Service: "a", Status: serving, Reason: "why"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantStatus(t, f, "a", missing)
		mine.Rewrite("a", "nobody")
		time.Sleep(time.Second)
		wantStatus(t, f, "a", serving)
		if again, ok := mine.Acknowledged("a"); !ok || again.Revision <= w.Revision || again.LeaseID != mine.ID() {
			t.Errorf("written after the rewrite: %+v, %v", again, ok)
		}
		mine.Rewrite("a")
		if err := mine.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		mine.Rewrite("a")
		synctest.Wait()
		wantStatus(t, f, "a", notServing)
	})
}

// TestAcknowledgedOfABatch: each service of it is written at the revision of the answer, under the lease that there is.
func TestAcknowledgedOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startBuffered(t, 3)
		mine := keep(t, f, f.client(t), client.KeepOptions{})
		if err := mine.ReportBatch(t.Context(), []client.Report{{Service: "a", Status: serving}, {Service: "b", Status: serving}}); err != nil {
			t.Fatal(err)
		}
		first := mine.ID()
		for _, name := range []string{"a", "b"} {
			if w, ok := mine.Acknowledged(name); !ok || w.LeaseID != first || w.Cluster != f.id || w.Revision == 0 {
				t.Errorf("%s: %+v, %v", name, w, ok)
			}
		}
		f.expire(first)
		time.Sleep(time.Minute)
		for _, name := range []string{"a", "b"} {
			if w, ok := mine.Acknowledged(name); !ok || w.LeaseID != mine.ID() || w.LeaseID == first {
				t.Errorf("%s under the next lease: %+v, %v", name, w, ok)
			}
		}
	})
}
