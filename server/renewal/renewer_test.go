package renewal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// fakeNode is a leader: Agreement, Lessor and Leases. It renews all but leases whose id begins with "lost", and those
// with "ends", whose end is under way. It knows
// the TTL, in seconds, of those whose id ends with it.
type fakeNode struct {
	mu      sync.Mutex
	leading bool
	changed chan struct{}
	asked   [][]string
	delay   time.Duration // of an answer
	err     error
}

func newFakeNode() *fakeNode { return &fakeNode{leading: true, changed: make(chan struct{})} }

func (f *fakeNode) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeNode) Leader() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.leading {
		return "", false
	}
	return "n1", true
}

func (f *fakeNode) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeNode) Lease(id string) *logv1.Lease {
	var seconds int64
	if _, text, ok := strings.Cut(id, ":"); ok {
		_, _ = fmt.Sscan(text, &seconds)
		return &logv1.Lease{Ttl: seconds * int64(time.Second)}
	}
	return nil
}

func (f *fakeNode) Renew(ctx context.Context, ids []string) (lost, waiting []string, err error) {
	f.mu.Lock()
	f.asked = append(f.asked, slices.Clone(ids))
	delay, err := f.delay, f.err
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	for _, id := range ids {
		switch {
		case strings.HasPrefix(id, "lost"):
			lost = append(lost, id)
		case strings.HasPrefix(id, "ends"):
			waiting = append(waiting, id)
		}
	}
	return lost, waiting, err
}

func (f *fakeNode) Times(ids []string) ([]*peerv1.LeaseTime, error) {
	f.mu.Lock()
	f.asked = append(f.asked, slices.Clone(ids))
	err := f.err
	f.mu.Unlock()
	times := make([]*peerv1.LeaseTime, len(ids))
	for i := range times {
		times[i] = &peerv1.LeaseTime{Known: true, Left: int64(len(ids[i]))}
	}
	return times, err
}

func newTestRenewer(t *testing.T, f *fakeNode) *Renewer {
	r := New(Config{Node: "n1", Agreement: f, Lessor: f, Leases: f})
	t.Cleanup(r.Close)
	return r
}

func TestRenew(t *testing.T) {
	for name, test := range map[string]struct {
		ids  []string
		do   func(f *fakeNode)
		want string
		took time.Duration
	}{
		"none":                   {nil, nil, "[] [] [] 0s", 0},
		"one":                    {[]string{"a:30"}, nil, "[a:30] [] [] 10s", gathering},
		"the shortest of two":    {[]string{"a:30", "b:3"}, nil, "[a:30 b:3] [] [] 1s", gathering},
		"the shortest is lost":   {[]string{"a:30", "lost:3"}, nil, "[a:30] [lost:3] [] 10s", gathering},
		"all are lost":           {[]string{"lost 1", "lost 2"}, nil, "[] [lost 1 lost 2] [] 0s", gathering},
		"one ends":               {[]string{"a:30", "ends:3", "lost:3"}, nil, "[a:30] [lost:3] [ends:3] 10s", gathering},
		"all end":                {[]string{"ends 1", "ends 2"}, nil, "[] [] [ends 1 ends 2] 0s", gathering},
		"not known here yet":     {[]string{"a:30", "b"}, nil, "[a:30 b] [] [] 333.333333ms", gathering},
		"lost, not known here":   {[]string{"lost", "a:30"}, nil, "[a:30] [lost] [] 10s", gathering},
		"a slow leader":          {[]string{"a:8"}, func(f *fakeNode) { f.delay = 900 * time.Millisecond }, "[a:8] [] [] 2.666666666s", gathering + 900*time.Millisecond},
		"too slow":               {[]string{"a:30"}, func(f *fakeNode) { f.delay = 2 * time.Second }, "[] [] [a:30] 0s", gathering + patience},
		"too slow for the TTL":   {[]string{"a:30", "b:4"}, func(f *fakeNode) { f.delay = 600 * time.Millisecond }, "[] [] [a:30 b:4] 0s", 500 * time.Millisecond},
		"one that errs for ever": {[]string{"a:30"}, func(f *fakeNode) { f.err = errors.New("not leading") }, "[] [] [a:30] 0s", gathering + patience},
		"no leader":              {[]string{"a:30"}, func(f *fakeNode) { f.leading = false }, "[] [] [a:30] 0s", gathering + patience},
		"a leader in time": {[]string{"a:30"}, func(f *fakeNode) {
			f.leading = false
			time.AfterFunc(700*time.Millisecond, func() { f.change(func() { f.leading = true }) })
		}, "[a:30] [] [] 10s", 700 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeNode()
				r := newTestRenewer(t, f)
				if test.do != nil {
					test.do(f)
				}
				start := time.Now()
				renewed, lost, waiting, again := r.Renew(t.Context(), test.ids)
				if got := fmt.Sprint(renewed, lost, waiting, again); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
			})
		})
	}
}

// TestACallerThatLeaves does not end the round of the others.
func TestACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNode()
		f.delay = 100 * time.Millisecond
		r := newTestRenewer(t, f)
		leaving, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, _, waiting, _ := r.Renew(leaving, []string{"a:30"}); len(waiting) != 1 {
				t.Errorf("who left is told that %q wait", waiting)
			}
		})
		callers.Go(func() {
			if renewed, _, _, _ := r.Renew(t.Context(), []string{"b:30"}); len(renewed) != 1 {
				t.Errorf("renewed: %q", renewed)
			}
		})
		callers.Wait()
		if len(f.asked) != 1 {
			t.Errorf("asked %q", f.asked)
		}
	})
}

// TestRoundsAreBounded: ids that do not fit into a question go into the next one, and a full one does not wait.
func TestRoundsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNode()
		r := newTestRenewer(t, f)
		var callers sync.WaitGroup
		for _, size := range []int{limits.MaxRenewedAtOnce - 1, 2, 1, limits.MaxRenewedAtOnce, 7, limits.MaxRenewedAtOnce} {
			ids := slices.Repeat([]string{"a:30"}, size)
			callers.Go(func() {
				start := time.Now()
				if renewed, _, _, _ := r.Renew(t.Context(), ids); len(renewed) != size {
					t.Errorf("%d of %d renewed", len(renewed), size)
				}
				if took := time.Since(start); size == limits.MaxRenewedAtOnce && took != 0 {
					t.Errorf("a full question waited %v", took)
				}
			})
			synctest.Wait()
		}
		callers.Wait()
		total := 0
		for _, ids := range f.asked {
			if len(ids) > limits.MaxRenewedAtOnce {
				t.Errorf("a question has %d ids", len(ids))
			}
			total += len(ids)
		}
		if want := 3*limits.MaxRenewedAtOnce + 9; total != want || len(f.asked) > 6 {
			t.Errorf("%d ids in %d questions, want %d", total, len(f.asked), want)
		}
	})
}

// TestClose: whoever waits is told so at once, and so is who comes later.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNode()
		f.delay = time.Hour
		r := newTestRenewer(t, f)
		var callers sync.WaitGroup
		for _, after := range []time.Duration{0, 98 * time.Millisecond} { // under way, and gathering
			callers.Go(func() {
				time.Sleep(after)
				if _, _, waiting, _ := r.Renew(t.Context(), []string{"a:30"}); len(waiting) != 1 {
					t.Errorf("waiting: %q", waiting)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		r.Close()
		callers.Wait()
		if _, _, waiting, _ := r.Renew(t.Context(), []string{"b:30"}); len(waiting) != 1 {
			t.Errorf("after Close: %q", waiting)
		}
	})
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNode()
		r := newTestRenewer(t, f)
		ids := make([]string, limits.MaxRenewedAtOnce+1)
		for i := range ids {
			ids[i] = strings.Repeat("x", i%7)
		}
		times, err := r.Times(t.Context(), ids)
		if err != nil || len(times) != len(ids) || len(f.asked) != 2 {
			t.Fatalf("%d times in %d questions, %v", len(times), len(f.asked), err)
		}
		for i, at := range times {
			if at.GetLeft() != int64(len(ids[i])) {
				t.Fatalf("%d: %v", i, at)
			}
		}
		if times, err := r.Times(t.Context(), nil); err != nil || times != nil {
			t.Errorf("of none: %v, %v", times, err)
		}
		f.err = errors.New("not leading")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Times(ctx, ids[:1]); err == nil {
			t.Error("no error")
		}
		f.change(func() { f.leading = false })
		start := time.Now()
		if _, err := r.Times(t.Context(), ids[:1]); !errors.Is(err, errNoLeader) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestManyCallersAtOnce is for the race detector.
func TestManyCallersAtOnce(t *testing.T) {
	f := newFakeNode()
	r := newTestRenewer(t, f)
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			for k := range 5 {
				id := fmt.Sprintf("%d-%d:30", i, k)
				if k == 3 {
					id = "lost " + id
				}
				renewed, lost, waiting, _ := r.Renew(context.Background(), []string{id})
				if len(waiting) > 0 || (k == 3) != slices.Equal(lost, []string{id}) || (k != 3) != slices.Equal(renewed, []string{id}) {
					t.Errorf("%s: %q, %q, %q", id, renewed, lost, waiting)
				}
			}
		})
	}
	callers.Wait()
}
