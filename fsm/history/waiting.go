package history

import (
	"container/heap"
	"time"
)

// waiter waits for a turn.
type waiter struct {
	source *source
	lane   lane
	cost   time.Duration // that it may have, at most
	order  int64         // lower ones are first; of equal ones, who came first
	number int64
	place  int // in the queue; -1: it is not in it any more
	ready  chan struct{}
}

// waitQueue holds those who wait for a turn of one lane. It is a container/heap; use add, next and remove.
type waitQueue struct {
	waiters []*waiter
	added   int64
	round   int64 // order of who was next last
}

func (q *waitQueue) add(w *waiter) {
	q.added++
	w.number = q.added
	w.source.waiting++
	heap.Push(q, w)
}

// next takes out who is first.
func (q *waitQueue) next() *waiter {
	w := heap.Pop(q).(*waiter)
	q.round = w.order
	w.source.waiting--
	return w
}

// remove takes w out, and reports whether it was in.
func (q *waitQueue) remove(w *waiter) bool {
	if w.place < 0 {
		return false
	}
	heap.Remove(q, w.place)
	if w.source.waiting--; w.source.waiting == 0 {
		w.source.round = q.round // rounds that it gave up do not count against it
	}
	return true
}

func (q *waitQueue) Len() int { return len(q.waiters) }

func (q *waitQueue) Less(i, j int) bool {
	a, b := q.waiters[i], q.waiters[j]
	if a.order != b.order {
		return a.order < b.order
	}
	return a.number < b.number
}

func (q *waitQueue) Swap(i, j int) {
	q.waiters[i], q.waiters[j] = q.waiters[j], q.waiters[i]
	q.waiters[i].place, q.waiters[j].place = i, j
}

func (q *waitQueue) Push(x any) {
	w := x.(*waiter)
	w.place = len(q.waiters)
	q.waiters = append(q.waiters, w)
}

func (q *waitQueue) Pop() any {
	last := len(q.waiters) - 1
	w := q.waiters[last]
	q.waiters[last] = nil
	q.waiters = q.waiters[:last]
	w.place = -1
	return w
}
