package browsertest_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// A load changes services over the node's API until stop.
type load struct {
	done    chan struct{}
	ended   chan struct{}
	changes atomic.Int64 // acknowledged
	begun   time.Time
}

// flip turns services of fill over, perSecond of them, twenty times a second.
func flip(t testing.TB, n *node, services, perSecond int) *load {
	admin, each := n.client(t), perSecond/20
	l := &load{done: make(chan struct{}), ended: make(chan struct{}), begun: time.Now()}
	down := make([]bool, services)
	go func() {
		defer close(l.ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for next := 0; ; {
			select {
			case <-l.done:
				return
			case <-tick.C:
			}
			// What was late is made up for, so that it is perSecond on the whole.
			for due := int64(time.Since(l.begun).Seconds() * float64(perSecond)); l.changes.Load()+int64(each) <= due; {
				var changes []*rollcallv1.StatusChange
				for range each {
					next = (next + 7919) % services // all over the groups
					down[next] = !down[next]
					status := serving
					if down[next] {
						status = notServing
					}
					changes = append(changes, &rollcallv1.StatusChange{Service: serviceName(next), Status: &status})
				}
				if _, err := admin.BatchSetServingStatus(n.call(), &rollcallv1.BatchSetServingStatusRequest{Changes: changes, Reason: "load", Actor: "load"}); err != nil {
					t.Errorf("load: %v", err)
					return
				}
				l.changes.Add(int64(each))
			}
		}
	}()
	return l
}

// stop ends the load and says how many changes a second it made.
func (l *load) stop() float64 {
	took := time.Since(l.begun).Seconds()
	made := l.changes.Load()
	close(l.done)
	<-l.ended
	return float64(made) / took
}

// comeAndGo sets names that nobody has used, and deletes them: 2 * count changes in calls of batches.
func comeAndGo(t testing.TB, n *node, round, count int) {
	t.Helper()
	admin := n.client(t)
	for from := 0; from < count; from += 1000 {
		var come, gone []*rollcallv1.StatusChange
		for i := from; i < min(from+1000, count); i++ {
			up, away := serving, deleted
			name := fmt.Sprintf("night-%d-%d/instance-%d", round, i%97, i)
			come = append(come, &rollcallv1.StatusChange{Service: name, Status: &up})
			gone = append(gone, &rollcallv1.StatusChange{Service: name, Status: &away})
		}
		for _, changes := range [][]*rollcallv1.StatusChange{come, gone} {
			if _, err := admin.BatchSetServingStatus(n.call(), &rollcallv1.BatchSetServingStatusRequest{Changes: changes, Reason: "load", Actor: "load"}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
