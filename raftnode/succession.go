package raftnode

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

// A killed leader is not a slow one: its system ends its connections and refuses new ones. Raft only
// knows silence, and waits a heartbeat timeout and more to be sure. A follower that sees both asks the
// other voters whether they see the same, and if a quorum does the one with the furthest log stands
// for election at once.
//
// Nothing that raft promises hangs on any of this: an election is safe at any time, whoever calls it.
// What the questions are for is that a leader that lives is not disturbed.

const (
	// successionStagger is how long a voter leaves the election to each one that goes before it. A
	// won election takes a few round trips and fsyncs.
	successionStagger = 150 * time.Millisecond
	// successionGrace is how long answers are waited for beyond those of a quorum, so that the best
	// one stands and not two.
	successionGrace = 30 * time.Millisecond
	// redialDead is how soon a port is tried again that took a connection and broke it: a process
	// that is ending. It doubles.
	redialDead = 2 * time.Millisecond
)

// succession is a node's part in finding a new leader for one whose process has ended.
type succession struct {
	node     string
	patience time.Duration // for one leader's end; then raft's own timeouts have come
	port     *peerPort
	trans    *transport
	raft     *raft.Raft
	failed   *atomic.Bool // the node is about to end

	stood atomic.Uint64 // the newest term whose leader this node stood to succeed
	total atomic.Uint64

	mu   sync.Mutex         // guards what follows
	stop context.CancelFunc // ends what is under way; nil: nothing is
}

// voter is what is known of a voter while a leader is missed.
type voter struct {
	name     string
	term     uint64
	logTerm  uint64
	logIndex uint64
	lost     bool
	standing bool
}

// precedes says whether v is to stand before w: raft lets only those win whose log goes as far as a
// quorum's.
func (v voter) precedes(w voter) bool {
	return cmp.Or(cmp.Compare(w.logTerm, v.logTerm), cmp.Compare(w.logIndex, v.logIndex), cmp.Compare(v.name, w.name)) < 0
}

// begun says whether somebody has begun an election.
func begun(own voter, others []voter) bool {
	return slices.ContainsFunc(others, func(o voter) bool {
		return o.term > own.term || o.standing && o.term == own.term
	})
}

// turn is when a voter is to stand, given the answers of others and how many voters there are: 0 is
// at once. false: not at all, as no quorum has lost the leader.
func turn(own voter, others []voter, voters int) (int, bool) {
	agree, before := 1, 0
	for _, o := range others {
		if !o.lost {
			continue
		}
		agree++
		if o.precedes(own) {
			before++
		}
	}
	return before, agree > voters/2
}

// moved ends what is under way. Raft's main loop calls it at every change of role and leader, before
// it looks at anything else: so what is offered to raft after a look at both is taken in that state
// or never.
func (s *succession) moved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
}

// run serves until ctx ends.
func (s *succession) run(ctx context.Context) {
	for {
		select {
		case <-s.port.lines.ended:
			s.succeed(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// succeed finds out what became of the leader, and stands if its process has ended and it is this
// node's turn.
func (s *succession) succeed(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, s.patience)
	defer stop()
	s.mu.Lock()
	s.stop = stop // before the look at raft
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.stop = nil
		s.mu.Unlock()
	}()
	_, id := s.raft.LeaderWithID()
	leader, term := string(id), s.raft.CurrentTerm()
	if leader == "" || !s.may(leader, term) {
		return
	}
	begin := time.Now()
	waited := false
	for s.refuses(ctx, leader) {
		own, others, voters := s.askVoters(ctx, leader, term)
		before, stand := turn(own, others, voters)
		switch {
		case ctx.Err() != nil || begun(own, others):
			return
		case !stand:
			// Somebody may not have noticed yet; if nobody does, all this ends in a moment.
			if !sleep(ctx, successionGrace, nil) {
				return
			}
			continue
		case before > 0 && !waited:
			waited = true
			if !sleep(ctx, time.Duration(before)*successionStagger, nil) {
				return
			}
			continue // whoever goes before has had its time
		}
		if !s.may(leader, term) {
			return
		}
		if s.trans.offer(ctx, timeoutNow(s.node)) {
			s.stood.Store(term)
			s.total.Add(1)
			s.port.logger.Info("standing for election: the leader's process has ended", "leader", leader, "term", term,
				"took", time.Since(begin).Round(10*time.Microsecond).String())
			return
		}
		// Something else came first: raft has it now, and another look is due.
	}
}

// timeoutNow makes raft a candidate as if a leader had handed over to this node: without a pre-vote,
// and with votes from those who still know a leader.
func timeoutNow(node string) raft.RPC {
	return raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(node), Addr: []byte(node),
		}},
		RespChan: make(chan raft.RPCResponse, 1),
	}
}

// may says whether this node is a voter that follows the leader in the term, has no connection left
// from it, and has not yet stood to succeed it.
func (s *succession) may(leader string, term uint64) bool {
	_, id := s.raft.LeaderWithID()
	return s.raft.State() == raft.Follower && string(id) == leader && s.raft.CurrentTerm() == term &&
		s.port.lines.cut(leader) && s.stood.Load() < term && !s.failed.Load() && slices.Contains(s.voters(), s.node)
}

func (s *succession) voters() []string {
	var names []string
	for _, server := range s.raft.GetConfiguration().Configuration().Servers {
		if server.Suffrage == raft.Voter {
			names = append(names, string(server.ID))
		}
	}
	return names
}

// refuses says whether nothing listens where a peer should. A port that takes the connection and then
// breaks it is tried again.
func (s *succession) refuses(ctx context.Context, name string) bool {
	for wait := redialDead; ; wait *= 2 {
		_, _, err := s.port.probe(ctx, name)
		if err == nil || refused(err) {
			return err != nil
		}
		if !brokenOff(err) || !sleep(ctx, wait, nil) {
			return false
		}
	}
}

// askVoters returns this voter and what the others answered, all but the leader, until a quorum has
// lost the leader too, or all have answered, or ctx ends.
func (s *succession) askVoters(ctx context.Context, leader string, term uint64) (own voter, others []voter, voters int) {
	own = s.own(term)
	question := &peerv1.Succession{Leader: leader, Term: term, LastLogTerm: own.logTerm, LastLogIndex: own.logIndex}
	names := s.voters()
	answers := make(chan voter, len(names)) // one from each at most
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	asked := 0
	for _, name := range names {
		if name == s.node || name == leader {
			continue
		}
		asked++
		wg.Go(func() {
			a, err := s.port.ask(ctx, name, question)
			if err != nil || a == nil {
				answers <- voter{name: name}
				return
			}
			answers <- voter{
				name: name, term: a.GetTerm(), logTerm: a.GetLastLogTerm(), logIndex: a.GetLastLogIndex(),
				lost: a.GetLost(), standing: a.GetStanding(),
			}
		})
	}
	var grace <-chan time.Time
	for len(others) < asked {
		select {
		case v := <-answers:
			others = append(others, v)
			if _, enough := turn(own, others, len(names)); enough && grace == nil {
				grace = time.After(successionGrace)
			}
		case <-grace:
			return own, others, len(names)
		case <-ctx.Done():
			return own, others, len(names)
		}
	}
	return own, others, len(names)
}

// own is this node as it answers others.
func (s *succession) own(term uint64) voter {
	stats := s.raft.Stats() // the only way to the term of the last entry
	number := func(key string) uint64 {
		n, _ := strconv.ParseUint(stats[key], 10, 64)
		return n
	}
	v := voter{name: s.node, term: number("term"), logTerm: number("last_log_term"), logIndex: number("last_log_index")}
	if snapshot := number("last_snapshot_index"); snapshot > v.logIndex {
		v.logTerm, v.logIndex = number("last_snapshot_term"), snapshot
	}
	v.standing = s.stood.Load() >= term
	return v
}

// answer is for another voter that has lost its leader. This node has lost it too when it has none of
// the leader's connections open and the leader's port refuses it; a slow disk may keep it from
// noticing the first, so that is waited for.
func (s *succession) answer(ctx context.Context, asker string, q *peerv1.Succession) *peerv1.Succession {
	ctx, cancel := context.WithTimeout(ctx, s.patience/2)
	defer cancel()
	leader := q.GetLeader()
	lost := leader != s.node && leader != "" && slices.Contains(s.voters(), asker) && slices.Contains(s.voters(), leader) &&
		s.port.lines.awaitNone(ctx, leader) && s.refuses(ctx, leader)
	if _, id := s.raft.LeaderWithID(); id != "" && string(id) != leader {
		lost = false
	}
	v := s.own(q.GetTerm())
	return &peerv1.Succession{
		Leader: leader, Term: v.term, LastLogTerm: v.logTerm, LastLogIndex: v.logIndex,
		Lost: lost && v.term == q.GetTerm(), Standing: v.standing,
	}
}
