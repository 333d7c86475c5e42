package clock

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// MeasureEvery is how often the other members are asked for their clocks.
	MeasureEvery = 5 * time.Second
	// lately is how long a reading counts.
	lately = 4 * MeasureEvery
	// maxRoundTrip is the longest round trip of a reading that counts: a reading may be wrong by half of it.
	maxRoundTrip = time.Second
	// OffBy is from when on a member's clock counts as off.
	OffBy = 500 * time.Millisecond
)

// Config is what a Clock is made of.
type Config struct {
	Node    string
	Members int // of the cluster, this node included, until SetMembers says better
	// Wall is this node's wall clock. It may step.
	Wall func() time.Time
	// Lived is this process's monotonic clock, from any beginning.
	Lived func() time.Duration
	// LogTime is the newest time that the fold has applied; 0: none.
	LogTime func() int64
	// Leads reports whether this node leads.
	Leads  func() bool
	Logger *slog.Logger
}

// Clock is the cluster clock as this node knows it.
type Clock struct {
	cfg Config

	mu       sync.Mutex    // guards what follows
	last     int64         // log time when anchored was, in nanoseconds since 1970
	anchored time.Duration // on Lived
	steady   bool          // see situation
	peers    map[string]peer
	members  int             // of the cluster, this node included
	enough   chan struct{}   // closed and replaced when a reading came
	off      map[string]bool // of which members it was logged that their clocks are off
	buffer   [16]int64       // for readings
	own      int64           // the wall clock's offset from Lived at the last look; 0: none yet
	holds    bool            // log time differs from the clocks', and that was logged
}

// peer is the newest reading of another member's clock.
type peer struct {
	offset int64         // of its wall clock from Lived, in nanoseconds
	at     time.Duration // on Lived
	trip   time.Duration // the reading may be wrong by half of it
}

// New returns a Clock that has measured nothing yet.
func New(cfg Config) *Clock {
	c := &Clock{cfg: cfg, peers: map[string]peer{}, off: map[string]bool{}, members: cfg.Members, enough: make(chan struct{})}
	c.last, c.anchored = cfg.LogTime(), cfg.Lived()
	return c
}

// Stamp returns the time of the next entry, in nanoseconds since 1970. It is for the leader, and what it
// returns is from then on the log's time.
func (c *Clock) Stamp() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.advance()
}

// Advance is Stamp without an entry, for a leader that has just begun to lead. Look does the same now and then:
// the cluster's clock runs on while nothing is written.
func (c *Clock) Advance() { c.Stamp() }

// advance moves the cluster's clock on. mu must be held.
func (c *Clock) advance() int64 {
	now := c.cfg.Lived()
	s := c.situation(now)
	v := decide(s)
	c.last, c.anchored = v.time, now
	// The first entry of a term is stamped before this node's fold has applied all that was committed. What
	// was the log's time is known only when it has, and this node leads.
	c.steady = c.steady || v.steady && c.cfg.Leads()
	if v.leap > 0 && s.last != 0 { // a new cluster's first entry is no leap
		level := slog.LevelInfo
		if v.leap > time.Hour {
			level = slog.LevelWarn // rare, and what follows from it may surprise
		}
		c.cfg.Logger.Log(context.Background(), level, "log time moves ahead by more than has passed",
			"by", rounded(v.leap), "to", time.Unix(0, v.time).UTC().Format(time.RFC3339))
	}
	c.tellHeld(v)
	return v.time
}

// Now is the time that an entry would be stamped with now. It is for any node, and changes nothing.
func (c *Clock) Now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return decide(c.situation(c.cfg.Lived())).time
}

// Earliest is the earlier of Now and the median of the members' clocks. The log's time may be ahead of all
// clocks for long, after one of them was wrong: what is deleted by its age must not be deleted by that.
func (c *Clock) Earliest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := decide(c.situation(c.cfg.Lived()))
	return v.time + min(0, int64(v.held))
}

// situation gathers what decide asks for. mu must be held.
func (c *Clock) situation(now time.Duration) situation {
	// What the fold has applied since is a lower bound of the log's time.
	if t := c.cfg.LogTime(); t > c.last+int64(now-c.anchored) {
		c.last, c.anchored = t, now
	}
	s := situation{last: c.last, passed: now - c.anchored, steady: c.steady, members: c.members, readings: c.buffer[:0]}
	if own := c.cfg.Wall().UnixNano(); plausible(own) {
		s.readings = append(s.readings, own)
	}
	for _, p := range c.peers {
		if now-p.at <= lately {
			s.readings = append(s.readings, int64(now)+p.offset)
		}
	}
	slices.Sort(s.readings)
	return s
}

// tellHeld logs when log time begins to differ from the clocks of the members, and when it ends. mu must be
// held.
func (c *Clock) tellHeld(v verdict) {
	switch {
	case v.held != 0 && !c.holds:
		c.holds = true
		c.cfg.Logger.Warn("the members' clocks do not agree with the log's time: it follows them only slowly",
			"clocks_ahead", rounded(v.held), "log_time", time.Unix(0, v.time).UTC().Format(time.RFC3339))
	case v.held == 0 && c.holds:
		c.holds = false
		c.cfg.Logger.Info("the members' clocks agree with the log's time again")
	}
}

// SetMembers tells who is a member of the cluster, this node included.
func (c *Clock) SetMembers(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = len(names)
	for name := range c.peers {
		if !slices.Contains(names, name) {
			delete(c.peers, name)
			delete(c.off, name)
		}
	}
}

// Note takes what a member answered when it was asked at the time sent, on Lived.
func (c *Clock) Note(member string, r Reading, sent time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Lived()
	trip := now - sent
	if !plausible(r.Wall) || trip < 0 || trip > maxRoundTrip {
		return
	}
	c.peers[member] = peer{offset: r.Wall + int64(trip)/2 - int64(now), at: now, trip: trip}
	if plausible(r.LogTime) && !c.cfg.Leads() && (r.Leads || !c.steady) {
		// The other member has seen the cluster run. It is nearer to the leader, or is the leader.
		c.last, c.anchored, c.steady = max(c.cfg.LogTime(), r.LogTime+int64(trip)/2), now, true
	}
	close(c.enough)
	c.enough = make(chan struct{})
}

// Ready reports whether Stamp would know more than this node's own clock and log: whether the cluster is
// known to have run, or most members' clocks are known. The channel is closed when that may have changed.
func (c *Clock) Ready() (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.steady || 2*len(c.situation(c.cfg.Lived()).readings) > c.members, c.enough
}

// Reading is what a member answers when it is asked for its clock.
type Reading struct {
	Wall int64 // its wall clock, in nanoseconds since 1970
	// LogTime is what it takes for the log's time now; 0: it does not know whether the cluster has run.
	LogTime int64
	Leads   bool
}

// Read is this node's answer to others.
func (c *Clock) Read() Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Reading{Wall: c.cfg.Wall().UnixNano(), Leads: c.cfg.Leads()}
	if c.steady {
		s := c.situation(c.cfg.Lived())
		r.LogTime = s.last + int64(s.passed)
	}
	return r
}

// Offset is how far a member's clock is from the cluster clock.
type Offset struct {
	Member string
	By     time.Duration // ahead of the cluster clock
	Off    bool          // surely by more than OffBy
}

// Offsets are those of the members that answered lately, this node included, by name.
func (c *Clock) Offsets() []Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offsets()
}

// offsets is Offsets. mu must be held.
func (c *Clock) offsets() []Offset {
	now, own := c.cfg.Lived(), c.cfg.Wall().UnixNano()
	s := c.situation(now)
	cluster := decide(s).time
	// After a start, with the readings of a minority, the log's time is that of its last entry, and any time
	// may have passed since. Then no clock is known to be off.
	known := s.steady || 2*len(s.readings) > s.members
	if !known {
		cluster = own
	}
	all := []Offset{offset(c.cfg.Node, own, cluster, 0)}
	for name, p := range c.peers {
		if now-p.at <= lately {
			all = append(all, offset(name, int64(now)+p.offset, cluster, p.trip))
			all[len(all)-1].Off = all[len(all)-1].Off && known
		}
	}
	slices.SortFunc(all, func(a, b Offset) int { return cmp.Compare(a.Member, b.Member) })
	return all
}

func offset(member string, reading, cluster int64, trip time.Duration) Offset {
	by := time.Duration(reading - cluster)
	return Offset{Member: member, By: by, Off: by.Abs() > OffBy+trip/2}
}

// Look logs a step of this node's clock, and members whose clocks are off or right again. Call it every
// MeasureEvery.
func (c *Clock) Look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Leads() {
		c.advance()
	}
	own := c.cfg.Wall().UnixNano() - int64(c.cfg.Lived())
	if step := time.Duration(own - c.own); c.own != 0 && step.Abs() > OffBy {
		c.cfg.Logger.Warn("the clock of this node stepped", "by", rounded(step))
	}
	c.own = own
	for _, o := range c.offsets() {
		if o.Off == c.off[o.Member] {
			continue
		}
		c.off[o.Member] = o.Off
		if o.Off {
			c.cfg.Logger.Warn("a member's clock is off", "member", o.Member, "by", rounded(o.By))
		} else {
			c.cfg.Logger.Info("a member's clock is right again", "member", o.Member)
		}
	}
}

func rounded(d time.Duration) string { return d.Round(time.Millisecond).String() }
