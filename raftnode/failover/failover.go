package failover

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/raftnode/peerport"
	"github.com/rollcallhq/rollcall/raftnode/transport"
	"github.com/rollcallhq/rollcall/raftnode/workaround"
)

const (
	// stagger is how long a voter waits for each voter that stands before it. Winning an election takes a
	// few round trips and fsyncs.
	stagger = 150 * time.Millisecond
	// grace is how much longer than for a quorum's answers a voter waits for the rest, so that one voter
	// stands and not two.
	grace = 30 * time.Millisecond
	// redialPause is the wait before a port is dialed again that took a connection and broke it: its
	// process is ending. The wait doubles each time.
	redialPause = 2 * time.Millisecond
	// A leader is silent when this node, while it ran itself, has looked silentLooks times, lookEvery apart, and has
	// heard nothing since the first look.
	lookEvery   = 50 * time.Millisecond
	silentLooks = 20
)

// sign is how a leader is missing.
type sign int

const (
	ended  sign = iota // its connections have ended, and its port refuses
	silent             // it sends nothing
)

// Config is what a Failover is made of.
type Config struct {
	Node      string
	Timeout   time.Duration // raft's heartbeat timeout, which bounds the search for one successor
	Port      *peerport.Port
	Transport *transport.Transport
	Raft      *raft.Raft
	// Stopping reports that this node is about to end, and must not lead.
	Stopping func() bool
	// Self reports that an address in raft's configuration means this node, with the data directory that it has. A log
	// that is still arriving may hold a configuration with the directory that this one replaces.
	Self   func(raft.ServerAddress) bool
	Logger *slog.Logger
}

// Failover is a node's part in finding a new leader for one whose process has ended, or that is silent.
type Failover struct {
	cfg Config

	asked chan struct{} // capacity 1: another voter has found the leader silent, and so has this one
	stood atomic.Uint64 // the newest term whose leader this node stood to replace
	total atomic.Uint64

	mu   sync.Mutex         // guards what follows
	stop context.CancelFunc // ends what is under way; nil: nothing is
}

// New returns a Failover that does nothing before Run.
func New(cfg Config) *Failover { return &Failover{cfg: cfg, asked: make(chan struct{}, 1)} }

// Count is how often this node stood for election because its leader's process had ended, or was silent.
func (f *Failover) Count() uint64 { return f.total.Load() }

// voter is what this node knows of a voter while the leader is missing. A voter is lost when it has lost the
// leader too, and standing when it has begun an election.
type voter struct {
	name     string
	term     uint64
	logTerm  uint64
	logIndex uint64
	lost     bool
	standing bool
}

// precedes reports whether v stands before w. The voter with the further log goes first, because raft lets
// nobody win whose log is behind that of a quorum.
func (v voter) precedes(w voter) bool {
	return cmp.Or(cmp.Compare(w.logTerm, v.logTerm), cmp.Compare(w.logIndex, v.logIndex), cmp.Compare(v.name, w.name)) < 0
}

// begun reports whether another voter has begun an election.
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

// LeaderChanged ends what is under way. Raft's main loop calls it at every change of role and leader, before
// it looks at anything else: so what is offered to raft after a look at both is taken in that state
// or never.
func (f *Failover) LeaderChanged() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
	}
}

// Run serves until ctx ends.
func (f *Failover) Run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var quiet quiet
	var asked time.Time // when this node last looked because it was asked
	for {
		select {
		case <-f.cfg.Port.FromPeers().Ended():
			f.replace(ctx, ended)
		case <-look.C:
			if quiet.look(f.cfg.Raft.State() == raft.Follower, f.cfg.Raft.LastContact()) {
				f.replace(ctx, silent)
			}
		case <-f.asked:
			// Not each time: two voters that find that a third stands already would ask each other for ever.
			if time.Since(asked) >= lookEvery {
				f.replace(ctx, silent)
				asked = time.Now()
			}
		case <-ctx.Done():
			return
		}
	}
}

// quiet counts how often this node has looked and heard nothing. Time in which this process did not run does not
// count: then it was not the leader that was silent.
type quiet struct {
	contact time.Time // when the leader was last heard
	looks   int       // since then
}

// look reports that the leader is silent.
func (q *quiet) look(following bool, contact time.Time) bool {
	if !following || contact.IsZero() || !contact.Equal(q.contact) {
		*q = quiet{contact: contact}
		return false
	}
	q.looks++
	return q.looks >= silentLooks
}

// replace finds out what became of the leader, and stands if it is missing and it is this node's turn.
func (f *Failover) replace(ctx context.Context, why sign) {
	ctx, stop := context.WithTimeout(ctx, f.cfg.Timeout)
	defer stop()
	f.mu.Lock()
	f.stop = stop // before the look at raft
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.stop = nil
		f.mu.Unlock()
	}()
	_, id := f.cfg.Raft.LeaderWithID()
	leader, term := string(id), f.cfg.Raft.CurrentTerm()
	if leader == "" || !f.may(leader, term, why) {
		return
	}
	begin := time.Now()
	waited := false
	for f.missing(ctx, leader, why) {
		own, others, voters := f.askVoters(ctx, leader, term, why)
		before, stand := turn(own, others, voters)
		switch {
		case ctx.Err() != nil || begun(own, others):
			return
		case !stand:
			// Somebody may not have noticed yet; if nobody does, all this ends in a moment.
			if !sleep(ctx, grace) {
				return
			}
			continue
		case before > 0 && !waited:
			waited = true
			if !sleep(ctx, time.Duration(before)*stagger) {
				return
			}
			continue // whoever goes before has had its time
		}
		if !f.may(leader, term, why) {
			return
		}
		if f.cfg.Transport.Offer(ctx, workaround.TimeoutNow(f.cfg.Node)) {
			f.stood.Store(term)
			f.total.Add(1)
			log := f.cfg.Logger.With("leader", leader, "term", term, "took", time.Since(begin).Round(10*time.Microsecond).String())
			if why == silent {
				log.Info("standing for election: the leader is silent")
			} else {
				log.Info("standing for election: the leader's process has ended")
			}
			return
		}
		// Something else came first: raft has it now, and another look is due.
	}
}

// may says whether this node is a voter that follows the leader in the term, has not heard it since it showed the sign,
// and has not yet stood to succeed it.
func (f *Failover) may(leader string, term uint64, why sign) bool {
	_, id := f.cfg.Raft.LeaderWithID()
	return f.cfg.Raft.State() == raft.Follower && string(id) == leader && f.cfg.Raft.CurrentTerm() == term &&
		(why == silent && f.unheard() || why == ended && f.cfg.Port.FromPeers().EndedBy(leader)) && f.stood.Load() < term && !f.cfg.Stopping() && f.votes()
}

// votes says whether this node is a voter.
func (f *Failover) votes() bool {
	return slices.ContainsFunc(f.cfg.Raft.GetConfiguration().Configuration().Servers, func(s raft.Server) bool {
		return s.Suffrage == raft.Voter && string(s.ID) == f.cfg.Node && f.cfg.Self(s.Address)
	})
}

func (f *Failover) voters() []string {
	var names []string
	for _, server := range f.cfg.Raft.GetConfiguration().Configuration().Servers {
		if server.Suffrage == raft.Voter {
			names = append(names, string(server.ID))
		}
	}
	return names
}

// missing says whether the leader still shows the sign.
func (f *Failover) missing(ctx context.Context, leader string, why sign) bool {
	if why == silent {
		return ctx.Err() == nil && f.unheard()
	}
	return f.refuses(ctx, leader)
}

// unheard says whether the leader has not been heard for raft's heartbeat timeout: raft too would let this node stand,
// when it looks next.
func (f *Failover) unheard() bool {
	contact := f.cfg.Raft.LastContact()
	return !contact.IsZero() && time.Since(contact) >= f.cfg.Timeout
}

// refuses says whether nothing listens where a peer should. A port that takes the connection and then
// breaks it is tried again.
func (f *Failover) refuses(ctx context.Context, name string) bool {
	for wait := redialPause; ; wait *= 2 {
		_, _, err := f.cfg.Port.Probe(ctx, name)
		if err == nil || peerport.Refused(err) {
			return err != nil
		}
		if !peerport.EndedByPeer(err) || !sleep(ctx, wait) {
			return false
		}
	}
}

// askVoters returns this voter and what the others answered, all but the leader, until a quorum has
// lost the leader too, or all have answered, or ctx ends.
func (f *Failover) askVoters(ctx context.Context, leader string, term uint64, why sign) (own voter, others []voter, voters int) {
	own = f.own(term)
	question := &peerv1.LeaderLoss{Leader: leader, Term: term, LastLogTerm: own.logTerm, LastLogIndex: own.logIndex, Silent: why == silent}
	names := f.voters()
	answers := make(chan voter, len(names)) // one from each at most
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	asked := 0
	for _, name := range names {
		if name == f.cfg.Node || name == leader {
			continue
		}
		asked++
		wg.Go(func() {
			a, err := f.cfg.Port.AskFailover(ctx, name, question)
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
	var enough <-chan time.Time
	for len(others) < asked {
		select {
		case v := <-answers:
			others = append(others, v)
			if _, agreed := turn(own, others, len(names)); agreed && enough == nil {
				enough = time.After(grace)
			}
		case <-enough:
			return own, others, len(names)
		case <-ctx.Done():
			return own, others, len(names)
		}
	}
	return own, others, len(names)
}

// own is this node as it answers others.
func (f *Failover) own(term uint64) voter {
	v := voter{name: f.cfg.Node}
	v.term, v.logTerm, v.logIndex = workaround.LastEntry(f.cfg.Raft)
	v.standing = f.stood.Load() >= term
	return v
}

// Answer is for another voter that has lost its leader. This node has lost a leader that has ended when it has none of
// the leader's connections open and the leader's port refuses it; a slow disk may keep it from noticing the first, so
// that is waited for. It has lost a silent one when it has not heard it for a heartbeat timeout.
func (f *Failover) Answer(ctx context.Context, asker string, q *peerv1.LeaderLoss) *peerv1.LeaderLoss {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout/2)
	defer cancel()
	leader := q.GetLeader()
	lost := leader != f.cfg.Node && leader != "" && slices.Contains(f.voters(), asker) && slices.Contains(f.voters(), leader)
	switch {
	case !lost:
	case q.GetSilent():
		lost = f.cfg.Raft.State() != raft.Leader && f.unheard()
		if lost {
			// The asker takes for granted that all who agree look for a successor at the same time.
			select {
			case f.asked <- struct{}{}:
			default:
			}
		}
	default:
		lost = f.cfg.Port.FromPeers().AwaitNone(ctx, leader) && f.refuses(ctx, leader)
	}
	if _, id := f.cfg.Raft.LeaderWithID(); id != "" && string(id) != leader {
		lost = false
	}
	v := f.own(q.GetTerm())
	return &peerv1.LeaderLoss{
		Leader: leader, Term: v.term, LastLogTerm: v.logTerm, LastLogIndex: v.logIndex,
		Lost: lost && v.term == q.GetTerm(), Standing: v.standing,
	}
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
