package featurelevel

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is what a Monitor on n1 sees.
type cluster struct {
	level, max uint32
	announced  map[string]*logv1.Member
	removed    map[string]*logv1.RemovedMember
	members    []string
	told       map[string]uint32
	leading    bool
	proposed   []*logv1.RaiseLevel
	refuse     bool
}

func (c *cluster) Level() uint32                            { return c.level }
func (c *cluster) MaxLevel() uint32                         { return c.max }
func (c *cluster) Members() map[string]*logv1.Member        { return c.announced }
func (c *cluster) Removed() map[string]*logv1.RemovedMember { return c.removed }

// CommandLevel is told by the reason: "2" needs level 2.
func (c *cluster) CommandLevel(cmd *logv1.Command) uint32 {
	return logv1.LevelOf(uint32(len(cmd.GetReason())))
}

func (c *cluster) monitor() *Monitor {
	return New(Config{
		Node:      "n1",
		Fold:      c,
		Members:   func() []string { return c.members },
		PeerLevel: func(name string) uint32 { return c.told[name] },
		Leading:   func() bool { return c.leading },
		Propose: func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			c.proposed = append(c.proposed, cmd.GetRaiseLevel())
			if c.refuse {
				return &logv1.Result{Refusal: &logv1.Refusal{}}, nil
			}
			c.level = cmd.GetRaiseLevel().GetLevel()
			return &logv1.Result{}, nil
		},
		RefusalText: func(*logv1.Refusal) string { return "no" },
		Logger:      slog.New(slog.DiscardHandler),
	})
}

// three is a cluster whose members all allow level 2, but for what change does.
func three(change func(c *cluster)) *cluster {
	c := &cluster{level: 1, max: 2, leading: true, members: []string{"n2", "n1", "n3"}, announced: map[string]*logv1.Member{}, told: map[string]uint32{}}
	for _, name := range c.members {
		c.announced[name] = &logv1.Member{Name: name, Version: "v2.0.0", Level: 2}
	}
	change(c)
	return c
}

func TestLevelRisesWhenAllAllowIt(t *testing.T) {
	old := &logv1.Member{Name: "n3", Version: "v1.0.0", Level: 1}
	for _, tt := range []struct {
		name   string
		change func(c *cluster)
		raised uint32   // 0: not
		behind []string // for a command that needs level 2
		held   string
	}{
		{"all", func(*cluster) {}, 2, nil, "level 2 can be reached: the level rises in a moment"},
		{"one is older", func(c *cluster) { c.announced["n3"] = old }, 0, []string{"n3"},
			"level 2 waits: n3 runs v1.0.0, which can fold level 1 at most"},
		{"one has never announced itself", func(c *cluster) { delete(c.announced, "n2") }, 0, []string{"n2"},
			"level 2 waits: n2 has not announced itself yet"},
		{"one holds", func(c *cluster) { c.announced["n2"].HoldLevel = 1 }, 0, []string{"n2"},
			"level 2 waits: n2 was started with --hold-level 1"},
		{"one holds a level that is no obstacle", func(c *cluster) { c.announced["n2"].HoldLevel = 2 }, 2, nil, "level 2 can be reached: the level rises in a moment"},
		{"two are behind", func(c *cluster) { c.announced["n3"] = old; c.announced["n2"].HoldLevel = 1 }, 0, []string{"n2", "n3"},
			"level 2 waits: n2 was started with --hold-level 1; n3 runs v1.0.0, which can fold level 1 at most"},
		{"one was just replaced by an older version", func(c *cluster) { c.told["n2"] = 1 }, 0, []string{"n2"},
			"level 2 waits: n2 runs a version, which can fold level 1 at most"},
		{"an older process of which a follower has heard once", func(c *cluster) { c.told["n2"] = 1; c.leading = false }, 0, nil,
			"level 2 can be reached: the level rises in a moment"},
		{"a former member is older", func(c *cluster) { c.announced["n9"] = &logv1.Member{Name: "n9"} }, 2, nil, "level 2 can be reached: the level rises in a moment"},
		{"one that was added and is not raft's yet is older", func(c *cluster) {
			c.members = c.members[:2]
			c.announced["n3"] = &logv1.Member{Name: "n3", Version: "v1.0.0", Level: 1, Joined: true}
		}, 0, []string{"n3"}, "level 2 waits: n3 runs v1.0.0, which can fold level 1 at most"},
		{"one that was added is not raft's yet", func(c *cluster) { c.members = c.members[:2]; c.announced["n3"].Joined = true }, 2, nil,
			"level 2 can be reached: the level rises in a moment"},
		{"raft still knows one that was removed", func(c *cluster) {
			c.members = append(c.members, "n4")
			c.removed = map[string]*logv1.RemovedMember{"d4": {Name: "n4", DirectoryId: "d4"}}
		}, 2, nil, "level 2 can be reached: the level rises in a moment"},
		{"one that was removed is back", func(c *cluster) {
			c.announced["n3"] = old
			c.removed = map[string]*logv1.RemovedMember{"d3": {Name: "n3", DirectoryId: "d3"}}
		}, 0, []string{"n3"}, "level 2 waits: n3 runs v1.0.0, which can fold level 1 at most"},
		{"the level is there", func(c *cluster) { c.level = 2 }, 0, nil, ""},
		{"no cluster yet", func(c *cluster) { c.members = nil }, 0, nil, ""},
		{"another leads", func(c *cluster) { c.leading = false }, 0, nil, "level 2 can be reached: the level rises in a moment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := three(tt.change)
				m := c.monitor()
				if held := m.Held(); held != tt.held {
					t.Errorf("held: %q, want %q", held, tt.held)
				}
				err := m.Check("n1", &logv1.Command{Reason: "2."})
				var incomplete *UpgradeIncompleteError
				if errors.As(err, &incomplete) != (c.level < 2) {
					t.Errorf("checked: %v", err)
				} else if incomplete != nil && (!slices.Equal(incomplete.Members, tt.behind) || incomplete.Needed != 2 || incomplete.Level != 1) {
					t.Errorf("refused with %+v, want members %v", incomplete, tt.behind)
				}
				if err := m.Check("n1", &logv1.Command{}); err != nil {
					t.Errorf("a command of the base level: %v", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*raiseEvery)
				defer cancel()
				m.Run(ctx)
				switch {
				case tt.raised == 0 && len(c.proposed) > 0:
					t.Errorf("proposed %v", c.proposed)
				case tt.raised != 0 && (len(c.proposed) != 1 || c.proposed[0].GetLevel() != tt.raised || !slices.Equal(c.proposed[0].GetMembers(), []string{"n1", "n2", "n3"})):
					t.Errorf("proposed %v, want level %d once", c.proposed, tt.raised)
				}
			})
		})
	}
}

// A refusal of the fold is tried again: the member that was behind may have gone.
func TestRaisingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(func(c *cluster) { c.refuse = true })
		ctx, cancel := context.WithTimeout(t.Context(), 5*raiseEvery-time.Millisecond)
		defer cancel()
		c.monitor().Run(ctx)
		if len(c.proposed) != 4 {
			t.Errorf("tried %d times in five seconds", len(c.proposed))
		}
	})
}

// A follower lets pass what the leader can read: the leader decides.
func TestCheckForAnotherLeader(t *testing.T) {
	c := three(func(c *cluster) { c.told["n2"] = 2; c.told["n3"] = 1 })
	m := c.monitor()
	if err := m.Check("n2", &logv1.Command{Reason: "2."}); err != nil {
		t.Errorf("a leader that can read it: %v", err)
	}
	err := m.Check("n3", &logv1.Command{Reason: "2."})
	if err == nil || !strings.Contains(err.Error(), "n3 runs a version, which can fold level 1 at most") {
		t.Errorf("a leader that cannot read it: %v", err)
	}
	c.level = 2
	if err := m.Check("n3", &logv1.Command{Reason: "2."}); err != nil {
		t.Errorf("a level that the cluster has: %v", err)
	}
}
