package tlsport

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

const (
	// MaxHandshakes is how many handshakes of a process are open at once that have not been answered. They take some KiB
	// each.
	MaxHandshakes = 1024
	// maxAnswered of such have been answered, or are being answered: each of those takes some 50 KiB, with the garbage
	// that Go leaves between two collections.
	maxAnswered = 384
	// HandshakeTimeout is how long a handshake may take, the wait for its turn included.
	HandshakeTimeout = 5 * time.Second

	// maxComputing is how many hellos are answered at once. More would not be answered sooner, and would keep the
	// processors from what connections carry that stand.
	maxComputing = 64
	// patience is how long the other side may think about the node's answer before it can be dropped for others who wait.
	// In a flood it is floodPatience: still more than a usual round trip. So 5,000 hellos a second that nobody goes on
	// with keep nobody out. A flood is when as many are open as may be, or when floodDrops more were dropped than have
	// gone on, and floodTime after it.
	patience      = 700 * time.Millisecond
	floodPatience = 75 * time.Millisecond
	floodDrops    = 32
	floodTime     = 10 * time.Second

	// collectAfter is after how many answers garbage is collected while more than collectFrom handshakes wait for the
	// other side. After twice as many nobody has his turn before that is done. What a handshake leaves behind is more
	// than what it keeps, and its stack is far larger than what it needs while it waits: only a collection makes it
	// smaller.
	collectAfter = 64
	collectFrom  = 32
)

// Handshakes bounds what the handshakes of all ports of a process cost that are not over. There are two sets of them:
// those that are open and have not been answered, and those that have, which cost more. Nobody gets into the second one
// before his hello is whole, and who hangs there makes room for those who wait.
//
// Who is dropped, and who comes first, follows from one rule: a client that goes on at once wins, whatever others do.
// So the newest comes first, and the oldest makes room. An address that has more than a quarter of what may be makes
// room before others do, and comes after them.
type Handshakes struct {
	limit   int           // of those that are open
	most    int           // of those that are answered
	collect chan struct{} // capacity 1: garbage is to be collected

	mu        sync.Mutex     // guards what follows, and the handshakes
	opening   list.List      // of *handshake, not answered; the oldest first
	waiting   list.List      // those of opening whose hello is whole; the newest last
	computing int            // how many are being answered
	answered  list.List      // of *handshake that wait for the other side; the oldest answer first
	dropped   int            // how many of answered were dropped, and are not over yet
	hung      int            // how many more were dropped than have gone on; 0 to floodDrops
	flood     time.Time      // when the last flood was seen
	large     int            // bytes that count against maxLargeBytes
	of        map[origin]int // how many are not over
	closed    bool           // nobody has his turn any more
	answers   int            // since garbage was collected, or was of no concern
	timer     *time.Timer    // runs makeRoom; nil: nobody waits for it
}

// origin is where handshakes come from that share the places of one.
type origin struct {
	port    *Port
	address string // an IPv4 address, or the first half of an IPv6 address: a network has that many
}

// stage is how far a handshake is.
type stage int

const (
	opening   stage = iota // the hello is not whole, or waits for its turn
	computing              // the hello is being answered
	answered               // the other side is to go on
	dropped                // it was answered and makes room, and has not noticed yet
	over
)

// handshake is one of Handshakes.
type handshake struct {
	all  *Handshakes
	conn *Conn
	from origin
	turn chan struct{} // closed when the hello may be answered

	// All guarded by all.mu.
	stage   stage
	since   time.Time     // when it was opened, and later when it was answered
	element *list.Element // of opening or answered
	queued  *list.Element // of waiting; nil: it does not wait
	large   int           // bytes of all.large
}

// NewHandshakes returns a Handshakes for limit handshakes that have not been answered, MaxHandshakes if there is nothing
// against it, and three for each eight of them that have.
func NewHandshakes(limit int) *Handshakes {
	return &Handshakes{limit: max(1, limit), most: max(1, limit*maxAnswered/MaxHandshakes), of: map[origin]int{}, collect: make(chan struct{}, 1)}
}

// open begins a handshake. At the limit another one of those that are not answered is dropped.
func (h *Handshakes) open(c *Conn) *handshake {
	s := &handshake{all: h, conn: c, from: origin{c.port, network(c.RemoteAddr())}, turn: make(chan struct{}), since: time.Now()}
	h.mu.Lock()
	var victim *handshake
	if h.opening.Len() >= h.limit {
		h.flood = s.since
		if victim = h.late(&h.opening, s.since, floodPatience); victim == nil {
			victim = h.opening.Front().Value.(*handshake)
		}
		h.remove(victim)
	}
	s.element = h.opening.PushBack(s)
	h.of[s.from]++
	h.mu.Unlock()
	if victim != nil {
		victim.conn.abort()
	}
	return s
}

// ready says that the hello is whole, and waits until it may be answered. It returns false if that is not to be: after
// timeout, or when the handshake was dropped.
func (s *handshake) ready(timeout time.Duration) bool {
	h := s.all
	h.mu.Lock()
	if s.stage != opening || h.closed {
		h.mu.Unlock()
		return false
	}
	s.queued = h.waiting.PushBack(s)
	h.next()
	if s.stage == computing {
		h.mu.Unlock()
		return true
	}
	victims := h.makeRoom()
	h.mu.Unlock()
	abort(victims)
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-s.turn:
	case <-late.C:
	case <-s.conn.gone:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.stage == opening {
		h.unqueue(s)
	}
	return s.stage == computing
}

// wasAnswered says that this node has said what it has to say, and waits.
func (s *handshake) wasAnswered() {
	h := s.all
	h.mu.Lock()
	switch s.stage {
	case computing:
		h.computing--
		s.stage, s.since = answered, time.Now()
		s.element = h.answered.PushBack(s)
		h.next()
	case answered: // TLS lets it ask for another hello once
		s.since = time.Now()
		h.answered.MoveToBack(s.element)
	}
	victims := h.makeRoom()
	h.mu.Unlock()
	abort(victims)
}

// end says that the handshake is over. Later calls do nothing.
func (s *handshake) end() {
	s.all.mu.Lock()
	s.all.remove(s)
	s.all.mu.Unlock()
}

// Run collects garbage while there are many handshakes. When ctx ends, what waits for its turn is dropped.
func (h *Handshakes) Run(ctx context.Context) {
	for {
		select {
		case <-h.collect:
			h.mu.Lock()
			before := h.answers
			h.mu.Unlock()
			runtime.GC()
			h.mu.Lock()
			h.answers = max(0, h.answers-before)
			h.next()
			h.mu.Unlock()
		case <-ctx.Done():
			h.close()
			return
		}
	}
}

func (h *Handshakes) close() {
	h.mu.Lock()
	h.closed = true
	var victims []*handshake
	for e := h.waiting.Front(); e != nil; e = e.Next() {
		victims = append(victims, e.Value.(*handshake))
	}
	h.mu.Unlock()
	abort(victims)
}

// What follows needs mu.

// next gives turns to those that wait, as many as may compute. Of each two the newer is first, and those come last that
// are from where too many come from.
func (h *Handshakes) next() {
	for !h.closed && h.waiting.Len() > 0 && h.answers < 2*collectAfter && h.computing < maxComputing &&
		h.computing+h.answered.Len()+h.dropped < h.most {
		e := h.waiting.Back()
		for e != nil && h.greedy(e.Value.(*handshake)) {
			e = e.Prev()
		}
		if e == nil {
			e = h.waiting.Back()
		}
		s := e.Value.(*handshake)
		h.unqueue(s)
		h.opening.Remove(s.element)
		h.computing++
		s.stage = computing
		close(s.turn)
		h.answers++
		switch {
		case h.answers < collectAfter:
		case h.answered.Len() <= collectFrom:
			h.answers = 0
		default:
			select {
			case h.collect <- struct{}{}:
			default:
			}
		}
	}
}

// makeRoom returns those who are to be dropped, so that those who wait have their turn.
func (h *Handshakes) makeRoom() (victims []*handshake) {
	now := time.Now()
	for h.waiting.Len() > h.dropped && h.answers < 2*collectAfter && h.computing < maxComputing {
		s := h.late(&h.answered, now, h.patience(now))
		if s == nil {
			break
		}
		h.answered.Remove(s.element)
		h.dropped++
		s.stage = dropped
		if h.hung = min(h.hung+1, floodDrops); h.hung == floodDrops {
			h.flood = now
		}
		victims = append(victims, s)
	}
	if oldest := h.answered.Front(); oldest != nil && h.timer == nil && h.waiting.Len() > h.dropped {
		h.timer = time.AfterFunc(max(time.Millisecond, oldest.Value.(*handshake).since.Add(h.patience(now)).Sub(now)), func() {
			h.mu.Lock()
			h.timer = nil
			victims := h.makeRoom()
			h.mu.Unlock()
			abort(victims)
		})
	}
	return victims
}

// patience is how long one that is answered may think now.
func (h *Handshakes) patience(now time.Time) time.Duration {
	if !h.flood.IsZero() && now.Sub(h.flood) < floodTime {
		return floodPatience
	}
	return patience
}

// late is who is dropped first of those in the set that have not gone on for so long; nil: there is none.
func (h *Handshakes) late(set *list.List, now time.Time, long time.Duration) *handshake {
	var oldest *handshake
	for e := set.Front(); e != nil; e = e.Next() {
		s := e.Value.(*handshake)
		if now.Sub(s.since) < long {
			break
		}
		if h.greedy(s) {
			return s
		}
		if oldest == nil {
			oldest = s
		}
	}
	return oldest
}

// greedy says whether more than a quarter of what may be comes from where s comes from.
func (h *Handshakes) greedy(s *handshake) bool { return h.of[s.from] > (h.limit+h.most)/4 }

// remove takes a handshake out.
func (h *Handshakes) remove(s *handshake) {
	switch s.stage {
	case opening:
		h.unqueue(s)
		h.opening.Remove(s.element)
	case computing:
		h.computing--
	case answered:
		h.answered.Remove(s.element)
		h.hung = max(0, h.hung-1)
	case dropped:
		h.dropped--
	case over:
		return
	}
	s.stage = over
	h.large -= s.large
	if h.of[s.from]--; h.of[s.from] == 0 {
		delete(h.of, s.from)
	}
	h.next()
}

// unqueue ends the wait of a handshake for its turn.
func (h *Handshakes) unqueue(s *handshake) {
	if s.queued != nil {
		h.waiting.Remove(s.queued)
		s.queued = nil
	}
}

// abort ends the connections of handshakes that were dropped. Nothing is locked.
func abort(victims []*handshake) {
	for _, s := range victims {
		s.conn.abort()
	}
}

// network is the part of an address that one host can choose no more than one of.
func network(a net.Addr) string {
	if a == nil {
		return ""
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64)
	return prefix.String()
}
