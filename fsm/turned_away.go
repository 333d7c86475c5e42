package fsm

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// LogClock says what the log's time would be if an entry were proposed now.
type LogClock interface{ LogClock() int64 }

// TurnAway returns the refusal of a client's command whose caller may not do it, as the newest view says, while access is
// enforced. It is nil for any other command: that one is for the fold to decide, and so is one whose request id is
// remembered, because the first answer stands.
//
// A leader asks before it proposes the command, so that who may do nothing cannot make the log grow. The answer holds if
// no other node led when it was asked: see raftnode.ReadIndex.
func (f *FSM) TurnAway(cmd *logv1.Command, clock LogClock) *Result {
	v := f.view.Load()
	if !v.access.auth.GetEnforced() {
		return nil
	}
	refusal := v.turnAway(cmd, clock)
	if refusal == nil || v.ids.remembers(cmd) {
		return nil
	}
	return &Result{index: v.index, revision: v.revision, time: v.logTime, refusal: refusal}
}

func (v *view) turnAway(cmd *logv1.Command, clock LogClock) *logv1.Refusal {
	switch cmd.GetKind().(type) {
	case *logv1.Command_Write, *logv1.Command_Record:
	default:
		return nil
	}
	now := max(clock.LogClock(), v.logTime)
	switch cmd.GetRecord().GetKind() {
	case logv1.Kind_KIND_TOKEN, logv1.Kind_KIND_ROLE, logv1.Kind_KIND_GRANTS, logv1.Kind_KIND_AUTH:
		// What these take is part of what they do.
		p := v.evaluate(cmd, now)
		if p.refusal == nil || isAboutCaller(p.refusal) {
			return p.refusal
		}
		// Who has nothing to do with access does not get into the log by naming a role that does not exist.
		may, refusal := rights{s: &v.state, time: now}.of(cmd.GetActor())
		if refusal != nil || !may.Some(access.Auth) {
			return p.refusal
		}
		return nil
	}
	refusal := v.authorize(cmd, now)
	if refusal == nil {
		return nil
	}
	// The fold looks first whether the command is well-formed.
	if malformed := checkCaller(cmd); malformed != nil {
		return malformed
	}
	if w := cmd.GetWrite(); w != nil {
		if malformed := checkWrite(w); malformed != nil {
			return malformed
		}
	}
	return refusal
}

// isAboutCaller says whether a command is refused for who its caller is, whatever the command says.
func isAboutCaller(r *logv1.Refusal) bool {
	switch r.GetReason() {
	case logv1.Refusal_REASON_DENIED, logv1.Refusal_REASON_TOKEN_REVOKED, logv1.Refusal_REASON_TOKEN_EXPIRED:
		return true
	}
	return false
}
