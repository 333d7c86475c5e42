package fsm

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestGetService(t *testing.T) {
	h := newHarness(t)
	h.do(t, 1_000_000_007, writeFor("up", change("a", serving)))
	h.do(t, 2_000_000_000, writeFor("still", change("a", serving)))
	got, revision := h.GetService("a")
	want := &rollcallv1.ServiceRecord{
		Service: "a", Status: isServing, StatusTime: &timestamppb.Timestamp{Seconds: 1, Nanos: 7},
		Report: &rollcallv1.Report{
			Status: isServing, Reason: "still", Revision: 2, Time: &timestamppb.Timestamp{Seconds: 2},
			Actor: &rollcallv1.Actor{Name: "ann", Peer: "10.0.0.1:99"},
		},
	}
	if !proto.Equal(got, want) || revision != 2 {
		t.Errorf("GetService is %v at %d, want %v", got, revision, want)
	}
	if got, revision := h.GetService("b"); got != nil || revision != 2 {
		t.Errorf("GetService of nothing is %v at %d", got, revision)
	}
}

// TestListServicesPages: pages put together are the services asked for, in order, each once.
func TestListServicesPages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := rapidHarness(t, rt, newMemRegistryFile())
		names := rapid.SliceOfDistinct(rapid.StringMatching(`[ab]{1,3}(/[ab]{0,2})?`), rapid.ID).Draw(rt, "names")
		for i, name := range names {
			h.set(t, name, logv1.Status(i%3))
		}
		prefix := rapid.StringMatching(`[ab]{0,2}/?`).Draw(rt, "prefix")
		patterns := rapid.SliceOfN(rapid.SampledFrom([]string{"*", "a/*", "b/*", "a", "ab", "bb/*", "bb/a"}), 1, 4).Draw(rt, "patterns")
		within := pattern.Beginnings(prefix).And(pattern.Cover(patterns...))
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		visits := rapid.IntRange(1, 6).Draw(rt, "visits")
		var statuses []servingStatus
		if rapid.Bool().Draw(rt, "filter") {
			statuses = []servingStatus{isServing, isNotServing}
		}
		var want []string
		for _, name := range slices.Sorted(slices.Values(names)) {
			s, _ := h.Status(name)
			if strings.HasPrefix(name, prefix) && slices.ContainsFunc(patterns, func(p string) bool { return pattern.Covers(p, name) }) && (statuses == nil || slices.Contains(statuses, s)) {
				want = append(want, name)
			}
		}
		var got []string
		after := ""
		for pages := 0; ; pages++ {
			page := h.view.Load().list(within, after, limit, statuses, false, visits)
			if page.Revision != h.Revision() || len(page.Records) > limit || pages > len(names)+1 {
				rt.Fatalf("page %d is %+v", pages, page)
			}
			for _, r := range page.Records {
				got = append(got, r.Service)
			}
			if !page.More {
				break
			}
			if page.After <= after {
				rt.Fatalf("page after %q ends at %q", after, page.After)
			}
			after = page.After
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("pages are %q, want %q", got, want)
		}
	})
}

func TestListServicesEnds(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"a", "b/1", "b/2", "c"} {
		h.set(t, name, serving)
	}
	for _, tc := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 4, "[a b/1 b/2 c] false "},
		{"", "", 3, "[a b/1 b/2] true b/2"},
		{"", "", 0, "[a] true a"},
		{"", "b", 1, "[b/1] true b/1"},
		{"", "c", 1, "[] false "},
		{"b/", "", 2, "[b/1 b/2] false "},
		{"b/", "a", 1, "[b/1] true b/1"},
		{"b/", "b/1", 1, "[b/2] false "},
		{"b/", "zz", 1, "[] false "},
		{"bb", "", 1, "[] false "},
	} {
		page := h.ListServices(pattern.Beginnings(tc.prefix), tc.after, tc.limit, nil, false)
		var names []string
		for _, r := range page.Records {
			names = append(names, r.Service)
		}
		if got := fmt.Sprint(names, page.More, " ", page.After); got != tc.want {
			t.Errorf("ListServices(%q, %q, %d) is %s, want %s", tc.prefix, tc.after, tc.limit, got, tc.want)
		}
	}
	if page := h.ListServices(pattern.Everything, "", 9, []servingStatus{isNotServing}, false); page.More || len(page.Records) != 0 {
		t.Errorf("filtered: %+v", page)
	}
	if page := h.view.Load().list(pattern.Everything, "", 9, []servingStatus{isNotServing}, false, 2); !page.More || page.After != "b/1" {
		t.Errorf("a scan that was cut short: %+v", page)
	}
}

func TestListStatuses(t *testing.T) {
	h := newHarness(t)
	h.set(t, "a", serving)
	h.set(t, "b", notServing)
	if all, more := h.ListStatuses(pattern.Everything, 2); more || len(all) != 2 || all["a"] != isServing || all["b"] != isNotServing {
		t.Errorf("ListStatuses(2) is %v, %v", all, more)
	}
	if all, more := h.ListStatuses(pattern.Cover("b", "c"), 1); more || len(all) != 1 || all["b"] != isNotServing {
		t.Errorf("ListStatuses of b is %v, %v", all, more)
	}
	if all, more := h.ListStatuses(pattern.Everything, 1); !more || all != nil {
		t.Errorf("ListStatuses(1) is %v, %v", all, more)
	}
}

// TestP4BatchIsOneCut: a reader never sees half a write, and never less than it waited for.
func TestP4BatchIsOneCut(t *testing.T) {
	const rounds = 300
	h := newHarness(t)
	var changes [3][]*logv1.Change // a round leaves all services with the status of its number modulo 3
	for status := range changes {
		for i := range 50 {
			changes[status] = append(changes[status], change(fmt.Sprint("s", i), logv1.Status(status)))
		}
	}
	h.do(t, 0, write(changes[1]...))
	// ahead lets rounds be one more than what Check was looked at for, so that a status tells of which.
	ahead, gone := make(chan struct{}, 1), make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for h.AppliedIndex() < rounds {
				all, _ := h.ListStatuses(pattern.Everything, 100)
				for name, s := range all {
					if s != all["s0"] {
						t.Errorf("half a write: s0 is %v, %s is %v", all["s0"], name, s)
						return
					}
				}
				page := h.ListServices(pattern.Everything, "", 100, nil, false)
				for _, r := range page.Records {
					if r.Status != page.Records[0].Status || r.Report.Revision > page.Revision || r.Report.Revision <= page.Revision-50 {
						t.Errorf("half a write at revision %d: %v", page.Revision, r)
						return
					}
				}
			}
		})
	}
	wg.Go(func() { // Check shows what was waited for; nothing shows more than ShownRevision
		defer close(gone)
		for i := int64(1); i <= rounds; i++ {
			if err := h.WaitRevision(t.Context(), 50*i); err != nil {
				t.Error(err)
				return
			}
			switch status, _ := h.Status("s49"); int64(status) {
			case i % 3:
			case (i + 1) % 3:
				if shown := h.ShownRevision(); shown < 50*i+1 {
					t.Errorf("s49 shows what came after revision %d, ShownRevision is %d", 50*i, shown)
				}
			default:
				t.Errorf("waited for revision %d, s49 shows less: %v", 50*i, status)
			}
			<-ahead
		}
	})
	for i := range rounds - 1 {
		select {
		case ahead <- struct{}{}:
		case <-gone:
		}
		h.index++
		h.ApplyBatch([]*raft.Log{logOf(t, h.index, 1, &logv1.Entry{Commands: []*logv1.Command{write(changes[(i+2)%3]...)}})})
	}
	close(ahead)
	wg.Wait()
}
