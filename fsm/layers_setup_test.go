package fsm

import (
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// recordCommand is a command of a kind of records.
func recordCommand(kind logv1.Kind, payload proto.Message) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kind, Payload: marshal(payload)}}}
}

func override(c *logv1.SetOverride) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_OVERRIDE, &logv1.OverrideCommand{Command: &logv1.OverrideCommand_Set{Set: c}})
}

// over is an override without end.
func over(pattern string, st logv1.Status) *logv1.Command {
	return override(&logv1.SetOverride{Pattern: pattern, Status: st})
}

func overFor(pattern string, st logv1.Status, ttl int64) *logv1.Command {
	return override(&logv1.SetOverride{Pattern: pattern, Status: st, Ttl: ttl})
}

func clearOver(pattern string) *logv1.Command {
	return clearing(&logv1.ClearOverride{Pattern: pattern})
}

func clearing(c *logv1.ClearOverride) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_OVERRIDE, &logv1.OverrideCommand{Command: &logv1.OverrideCommand_Clear{Clear: c}})
}

func rule(c *logv1.SetRule) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_RULE, &logv1.RuleCommand{Command: &logv1.RuleCommand_Set{Set: c}})
}

func atLeast(name, pattern string, n int64) *logv1.Command {
	return rule(&logv1.SetRule{Name: name, Pattern: pattern, MinServing: n})
}

func percent(name, pattern string, n uint32) *logv1.Command {
	return rule(&logv1.SetRule{Name: name, Pattern: pattern, MinPercent: n})
}

func removeRule(name string) *logv1.Command {
	return recordCommand(logv1.Kind_KIND_RULE, &logv1.RuleCommand{Command: &logv1.RuleCommand_Remove{Remove: &logv1.RemoveRule{Name: name}}})
}

func expire(term uint64, overrides ...*logv1.ExpiredOverride) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_Expire{Expire: &logv1.Expire{Term: term, Overrides: overrides}}}
}

// because gives a command a reason, and what it may break.
func because(cmd *logv1.Command, reason string, glass ...string) *logv1.Command {
	cmd.Reason, cmd.BreakGlass = reason, glass
	return cmd
}
