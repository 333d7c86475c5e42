package fsm

import (
	"fmt"
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// LevelError means that a log entry, the registry file or a snapshot needs a higher feature level than
// this binary can fold. A newer binary wrote it.
type LevelError struct {
	Needs uint32
	Max   uint32 // the highest level that this binary can fold
}

func (e *LevelError) Error() string {
	return fmt.Sprintf("needs feature level %d, and this binary can fold level %d at most: a newer version of rollcall wrote it; start that version",
		e.Needs, e.Max)
}

// evaluateRaise raises the feature level. A level that is not higher changes nothing: two leaders may have
// proposed the same one. It refuses a level that one of the members cannot fold, or is held at: the member
// may have been restarted with another version or --hold-level since the leader checked. The members are those that the
// leader named, and all that were added: they may not be in raft's configuration yet. One that was removed and still is
// there is not asked.
func (s *state) evaluateRaise(p *plan, r *logv1.RaiseLevel) {
	level := r.GetLevel()
	if level <= s.level {
		return
	}
	ask := func(name string, m *logv1.Member) bool {
		if known := m.AllowedLevel(); known < level {
			p.refusal = of(logv1.Kind_KIND_MEMBER, name, beyond("level", logv1.Refusal_PROBLEM_TOO_HIGH, int64(level), int64(known)))
		}
		return p.refusal == nil
	}
	for _, name := range r.GetMembers() {
		if m := s.member(name); (m != nil || s.newestRemoved(name) == nil) && !ask(name, m) {
			return
		}
	}
	s.eachMember(func(m *logv1.Member) bool { return !m.GetJoined() || ask(m.GetName(), m) })
	if p.refusal == nil {
		p.level = level
	}
}

// Level is the cluster's feature level. It never falls.
func (f *FSM) Level() uint32 { return f.view.Load().level }

// MaxLevel is the highest feature level that this binary can fold.
func (f *FSM) MaxLevel() uint32 { return f.cfg.MaxLevel }

// CommandLevel is the lowest feature level at which cmd may be proposed.
func (f *FSM) CommandLevel(cmd *logv1.Command) uint32 {
	level, _ := commandLevel(f.cfg.Kinds, cmd)
	if f.cfg.CommandLevel != nil {
		level = max(level, f.cfg.CommandLevel(cmd))
	}
	return level
}

// commandLevel is the table of the feature levels since which the kinds of commands exist. A field, or a
// value of an enum, that was added later raises the level of the commands that use it. ok is false for a kind
// that is not in the table, which the fold refuses.
func commandLevel(kinds *Kinds, cmd *logv1.Command) (level uint32, ok bool) {
	switch kind := cmd.GetKind().(type) {
	case *logv1.Command_Write:
		level, ok = logv1.BaseLevel, true
		if slices.ContainsFunc(kind.Write.GetChanges(), func(c *logv1.Change) bool { return c.GetLeaseId() != "" }) {
			level = logv1.LevelLayers
		}
	case *logv1.Command_TermStart, *logv1.Command_Compact:
		level, ok = logv1.BaseLevel, true
	case *logv1.Command_AnnounceMember:
		level, ok = logv1.BaseLevel, true
		if m := kind.AnnounceMember.GetMember(); m.GetReplica() || m.GetJoined() {
			level = logv1.LevelMembers
		}
	case *logv1.Command_Expire, *logv1.Command_HoldLeases:
		level, ok = logv1.LevelLayers, true
	case *logv1.Command_RaiseLevel:
		level, ok = logv1.LevelOf(kind.RaiseLevel.GetLevel()), true
	case *logv1.Command_Record:
		level, ok = logv1.BaseLevel, true
		if k := kinds.commandKind(kind.Record); k != nil {
			level = max(logv1.LevelOf(k.Level), k.CommandLevel)
		}
	}
	if a := cmd.GetActor(); a.GetOnBehalfOf() != "" || a.GetCredential() != "" || a.GetStaticAdmin() {
		level = max(level, logv1.LevelAccess)
	}
	if len(cmd.GetBreakGlass()) > 0 {
		level = max(level, logv1.LevelLayers)
	}
	return max(level, logv1.BaseLevel), ok
}
