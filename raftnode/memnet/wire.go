package memnet

import (
	"sync"
	"time"
)

// segmentSize is how many bytes of one connection a wire takes before those of another.
const segmentSize = 4 << 10

// wire is the slow way from one host to another. All connections between them share it.
type wire struct {
	mu   sync.Mutex // guards all fields; taken after a pipe's
	rate int        // bytes a second; 0: no limit
	free time.Time  // when all that was sent has arrived
}

// segment is what was sent at once.
type segment struct {
	at    time.Time // when it arrives
	bytes int
}

// send takes bytes and returns when they arrive.
func (w *wire) send(bytes int) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.rate == 0 {
		w.free = now
		return now
	}
	if w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(time.Duration(int64(bytes) * int64(time.Second) / int64(w.rate)))
	return w.free
}

// Throttle makes the links between two hosts carry so many bytes a second, in each direction, from their
// next connections on; 0: without a limit. Call it before the hosts connect.
func (m *Network) Throttle(rate int, a, b string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, way := range [][2]string{{a, b}, {b, a}} {
		if m.wires[way] == nil {
			m.wires[way] = &wire{}
		}
		w := m.wires[way]
		w.mu.Lock()
		w.rate = rate
		w.mu.Unlock()
	}
}
