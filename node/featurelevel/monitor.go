package featurelevel

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

const (
	// raiseEvery is how often a leader checks whether the level may rise.
	raiseEvery = time.Second
	// raiseTimeout bounds one try to raise it.
	raiseTimeout = 5 * time.Second
)

// Fold is what the registry knows of levels and members.
type Fold interface {
	Level() uint32
	MaxLevel() uint32
	CommandLevel(*logv1.Command) uint32
	Members() map[string]*logv1.Member
	Removed() map[string]*logv1.RemovedMember
}

// Config is what a Monitor is made of. All of it is required.
type Config struct {
	Node string
	Fold Fold
	// Members are raft's, by name, voting or not; none while there is no cluster.
	Members func() []string
	// PeerLevel is the level that a member's running process told this node; 0: it told none.
	PeerLevel func(name string) uint32
	Leading   func() bool
	Propose   func(context.Context, *logv1.Command) (*logv1.Result, error)
	// RefusalText words a refusal.
	RefusalText func(*logv1.Refusal) string
	Logger      *slog.Logger
}

// Monitor watches the feature levels of the members.
type Monitor struct {
	cfg Config
	// told is what was logged last of who keeps the level down. Only Run uses it.
	told string
}

// New returns a Monitor. It does nothing by itself until Run.
func New(cfg Config) *Monitor { return &Monitor{cfg: cfg} }

// UpgradeIncompleteError refuses a command that the cluster's feature level does not hold. The command is
// surely not written.
type UpgradeIncompleteError struct {
	Needed, Level uint32
	Members       []string // that keep the level down, by name
	why           string
}

func (e *UpgradeIncompleteError) Error() string {
	return fmt.Sprintf("the change needs feature level %d and the cluster is at level %d: %s", e.Needed, e.Level, e.why)
}

// UpgradeIncomplete tells the server what to tell the caller.
func (e *UpgradeIncompleteError) UpgradeIncomplete() (needed, level uint32, members []string) {
	return e.Needed, e.Level, e.Members
}

// Check returns an *UpgradeIncompleteError if leader, which may be this node, cannot take cmd. Only a
// leader knows for sure: another node lets a command pass that the leader's binary can read.
func (m *Monitor) Check(leader string, cmd *logv1.Command) error {
	needed := m.cfg.Fold.CommandLevel(cmd)
	if needed == logv1.BaseLevel || needed <= m.cfg.Fold.Level() {
		return nil
	}
	if leader != m.cfg.Node && m.cfg.PeerLevel(leader) >= needed {
		return nil
	}
	e := &UpgradeIncompleteError{Needed: needed, Level: m.cfg.Fold.Level()}
	behind := m.behind(needed)
	for _, member := range behind {
		e.Members = append(e.Members, member.name)
	}
	if e.why = describe(behind); e.why == "" {
		e.why = "every member allows it, and the level rises in a moment; try again"
	}
	return e
}

// member is what is known of one member's level.
type member struct {
	name      string
	max       uint32 // the highest that its binary can fold
	hold      uint32 // 0: none
	announced bool
	version   string
}

func (m member) allowed() uint32 {
	if m.hold != 0 {
		return min(m.max, m.hold)
	}
	return m.max
}

// members are raft's and those that were added and wait to be raft's, by name, each with what is known of its level. One
// that was removed is none, though raft may still know it. One that never announced itself has the base level. For a
// leader, which is connected to all members that run, a process that told a lower level than its member announced counts:
// the member has just been replaced by an older version.
func (m *Monitor) members() []member {
	names, leading := m.cfg.Members(), m.cfg.Leading()
	if len(names) == 0 {
		return nil
	}
	announced, removed := m.cfg.Fold.Members(), map[string]bool{}
	for _, r := range m.cfg.Fold.Removed() {
		removed[r.GetName()] = true
	}
	for name, a := range announced {
		if a.GetJoined() && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var all []member
	for _, name := range names {
		a := announced[name]
		if a == nil && removed[name] {
			continue
		}
		one := member{name: name, max: logv1.LevelOf(a.GetLevel()), hold: a.GetHoldLevel(), announced: a != nil, version: a.GetVersion()}
		if told := m.cfg.PeerLevel(name); leading && told != 0 && told < one.max {
			one.max, one.version = told, ""
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return all
}

// behind are the members that do not allow a level.
func (m *Monitor) behind(level uint32) []member {
	return slices.DeleteFunc(m.members(), func(one member) bool { return one.allowed() >= level })
}

// describe says in words why members keep the level down; "" if there are none.
func describe(behind []member) string {
	var parts []string
	for _, m := range behind {
		switch {
		case !m.announced:
			parts = append(parts, m.name+" has not announced itself yet")
		case m.hold != 0 && m.hold < m.max:
			parts = append(parts, fmt.Sprintf("%s was started with --hold-level %d", m.name, m.hold))
		default:
			parts = append(parts, fmt.Sprintf("%s runs %s, which can fold level %d at most", m.name, cmp.Or(m.version, "a version"), m.max))
		}
	}
	return strings.Join(parts, "; ")
}

// Held says in words why the level is below the highest that a member can fold; "" if it is not.
func (m *Monitor) Held() string {
	highest := uint32(0)
	for _, one := range m.members() {
		highest = max(highest, one.max)
	}
	level := m.cfg.Fold.Level()
	if highest <= level {
		return ""
	}
	behind := m.behind(level + 1)
	if len(behind) == 0 {
		return fmt.Sprintf("level %d can be reached: the level rises in a moment", level+1)
	}
	return fmt.Sprintf("level %d waits: %s", highest, describe(behind))
}

// Run has this node, while it leads, raise the level to the highest that all members allow, until ctx
// ends.
func (m *Monitor) Run(ctx context.Context) {
	tick := time.NewTicker(raiseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !m.cfg.Leading() {
			m.told = ""
			continue
		}
		if err := m.raise(ctx); err != nil && ctx.Err() == nil && m.cfg.Leading() { // else it is the next leader's to do
			m.cfg.Logger.Warn("the feature level cannot be raised; it is tried again", "error", err)
		}
	}
}

// raise proposes a higher level if all members allow one.
func (m *Monitor) raise(ctx context.Context) error {
	members := m.members()
	if len(members) == 0 {
		return nil
	}
	level, target := m.cfg.Fold.Level(), m.cfg.Fold.MaxLevel()
	names := make([]string, 0, len(members))
	for _, one := range members {
		target = min(target, one.allowed())
		names = append(names, one.name)
	}
	if target <= level {
		if held := m.Held(); held != m.told {
			m.told = held
			if held != "" {
				m.cfg.Logger.Info("the feature level does not rise yet", "level", level, "reason", held)
			}
		}
		return nil
	}
	attempt, cancel := context.WithTimeout(ctx, raiseTimeout)
	defer cancel()
	result, err := m.cfg.Propose(attempt, &logv1.Command{
		Actor:  &logv1.Actor{Name: "node " + m.cfg.Node, Verified: true},
		Reason: "all members allow it",
		Kind:   &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: target, Members: names}},
	})
	if err != nil {
		return err
	}
	if refusal := result.GetRefusal(); refusal != nil {
		return fmt.Errorf("level %d: %s", target, m.cfg.RefusalText(refusal))
	}
	m.cfg.Logger.Info("feature level raised: an older version of rollcall cannot read this cluster's data any more",
		"level", target, "was", level)
	return nil
}
