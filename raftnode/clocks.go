package raftnode

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/clock"
)

// clockWait is how long a new leader waits for the clocks of most members before its first entry. It
// waits only where this process does not know whether the cluster has run: after its own start.
const clockWait = 2 * time.Second

func (n *Node) newClock() *clock.Clock {
	started := time.Now()
	return clock.New(clock.Config{
		Node:    n.cfg.Node,
		Members: max(1, len(n.cfg.Members), len(n.roster().Known)),
		Wall:    n.cfg.Now,
		Lived:   func() time.Duration { return time.Since(started) }, // Go keeps a monotonic reading in started
		LogTime: n.cfg.State.LogTime,
		Leads:   func() bool { return n.leading.Load() != nil },
		Logger:  n.logger,
	})
}

// LogClock is what the log's time would be if an entry were proposed now, in nanoseconds since 1970.
func (n *Node) LogClock() int64 { return n.clock.Now() }

// RetentionClock is the time by which a leader may say how old an event is, in nanoseconds since 1970: that
// of the log, or of the members' clocks if they are behind it.
func (n *Node) RetentionClock() int64 { return n.clock.Earliest() }

// serveClock answers the members that ask for this node's clock.
func (n *Node) serveClock() {
	var conns sync.WaitGroup
	defer conns.Wait()
	l := n.port.Listener(peerv1.Hello_PURPOSE_CLOCK)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		member := ""
		if from, ok := conn.(interface{ Member() string }); ok {
			member = from.Member()
		}
		conns.Go(func() {
			n.clock.Serve(conn, func(answer *peerv1.ClockReading) { n.tellReach(member, answer) })
		})
	}
}

// measureClocks asks the other members for their clocks, again and again until ctx ends. Raft runs.
func (n *Node) measureClocks(ctx context.Context) {
	conns := map[string]net.Conn{}
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	toAsk := ""
	for {
		n.measureOnce(ctx, conns)
		if now := n.reach.Leader(); now != toAsk {
			toAsk = now
			n.refresh()
		}
		n.clock.Look()
		n.handOverIfCutOff(ctx)
		if !sleep(ctx, clock.MeasureEvery, n.measure) {
			return
		}
	}
}

// measureSoon has the members asked for their clocks now.
func (n *Node) measureSoon() {
	select {
	case n.measure <- struct{}{}:
	default:
	}
}

// measureOnce asks each other member once, over the connection that there is or a new one.
func (n *Node) measureOnce(ctx context.Context, conns map[string]net.Conn) {
	var names []string
	servers := n.raft.Load().GetConfiguration().Configuration().Servers
	for _, s := range servers {
		names = append(names, string(s.ID))
	}
	if len(names) == 0 {
		return // this node has not heard from the cluster yet
	}
	n.trans.Retain(servers)
	n.clock.SetMembers(names)
	n.reach.SetMembers(names)
	ctx, cancel := context.WithTimeout(ctx, clockWait)
	defer cancel()
	var mu sync.Mutex // guards conns
	var wg sync.WaitGroup
	for _, name := range names {
		if name == n.cfg.Node {
			continue
		}
		mu.Lock()
		conn := conns[name]
		delete(conns, name)
		mu.Unlock()
		wg.Go(func() {
			if conn = n.measureMember(ctx, name, conn); conn == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			conns[name] = conn
		})
	}
	wg.Wait()
	for name, conn := range conns {
		if !slices.Contains(names, name) {
			_ = conn.Close()
			delete(conns, name)
		}
	}
}

// measureMember asks a member once, over conn or, if it is nil or has ended, over a new connection. It returns the
// connection to be used next; nil: there is none.
func (n *Node) measureMember(ctx context.Context, name string, conn net.Conn) net.Conn {
	if conn != nil {
		// An old connection may go on where no new one can be made: that is to be noticed, and its end too.
		if failing, _ := n.port.Unreachable(name); failing == 0 && n.measureOver(name, conn) == nil {
			return conn
		}
		_ = conn.Close()
	}
	conn, err := n.port.Dial(ctx, name, peerv1.Hello_PURPOSE_CLOCK)
	if err != nil {
		return nil // the port has noted it
	}
	if n.measureOver(name, conn) != nil {
		_ = conn.Close()
		return nil
	}
	return conn
}

func (n *Node) measureOver(name string, conn net.Conn) error {
	answer, err := n.clock.Measure(name, conn)
	if err == nil {
		n.answeredReach(name, answer)
	}
	return err
}

// awaitClocks waits, for clockWait at most, until this node can tell the cluster's time.
func (n *Node) awaitClocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clockWait)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond) // never at each answer: where too few answer, that is a storm
	defer again.Stop()
	for ask := true; ; {
		ready, changed := n.clock.Ready()
		if ready {
			return
		}
		if ask {
			ask = false
			n.measureSoon()
		}
		select {
		case <-changed:
		case <-again.C:
			ask = true
		case <-ctx.Done():
			return
		}
	}
}
