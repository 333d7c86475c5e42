package fsm

import (
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// TestNobodyTakesFromHimselfWhatHeCouldNotGiveBack: who may do everything can do so after his own changes of access, and
// who administers access alone can still administer it.
func TestNobodyTakesFromHimselfWhatHeCouldNotGiveBack(t *testing.T) {
	const (
		ok       = logv1.Refusal_REASON_UNSPECIFIED
		escalate = logv1.Refusal_REASON_ESCALATION
		lockout  = logv1.Refusal_REASON_AUTH_LOCKOUT
	)
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile()})
	step := func(what string, want logv1.Refusal_Reason, caller string, cmd *logv1.Command) *logv1.Refusal {
		t.Helper()
		got := h.do(t, 1, by(caller, cmd))[0].GetRefusal()
		if got.GetReason() != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		return got
	}
	boss, clerk := "cert:boss", "cert:clerk"
	step("a role that allows everything", ok, "", putRole("all", access.All))
	step("a role for access alone", ok, "", putRole("access", access.Auth))
	step("the only one who has it", ok, "", putGrants(boss, grantOver("all", "*")))
	step("who administers access alone", ok, "", putGrants(clerk, grantOver("access", "*")))
	refusal := step("who could not end it again enforces nothing", lockout, clerk, setAuth(true, ""))
	if want := access.All &^ access.Auth; access.Verbs(refusal.GetLimit()) != want {
		t.Errorf("the refusal says that %v would be lacking, want %v", access.Verbs(refusal.GetLimit()).Names(), want.Names())
	}
	step("enforced", ok, boss, setAuth(true, ""))

	step("who administers access alone does not end it", escalate, clerk, setAuth(false, ""))
	step("nor by the role of everybody", escalate, clerk, setAuth(true, "admin"))
	step("he changes what he may", ok, clerk, setAuth(true, "access"))
	step("and back", ok, clerk, setAuth(true, ""))
	step("he keeps the verb auth", lockout, clerk, putGrants(clerk))
	step("he may have it by another grant", ok, clerk, putGrants(clerk, grantOver("access", "*"), grantOver("access", "a/*")))

	refusal = step("the only one who may do everything leaves himself auth", lockout, boss, putRole("all", access.Auth))
	if want := access.All &^ access.Auth; refusal.GetGiven() != boss || access.Verbs(refusal.GetLimit()) != want {
		t.Errorf("the refusal is %v, want that %v would be lacking", refusal, want.Names())
	}
	step("or all but one verb", lockout, boss, putRole("all", access.All&^access.Backup))
	step("or everything over less", lockout, boss, putGrants(boss, grantOver("all", "a/*"), grantOver("access", "*")))
	step("or another role", lockout, boss, putGrants(boss, grantOver("access", "*"), grantOver("operator", "*")))
	step("another one that allows everything will do", ok, boss, putGrants(boss, grantOver("all", "*"), grantOver("admin", "*")))
	step("then the role is not needed", ok, boss, putRole("all", access.Auth))
	step("and can be set back", ok, boss, putRole("all", access.All))
	step("an administrator of a node's configuration may", ok, "static", putGrants(boss, grantOver("access", "*")))
	step("who has auth alone then keeps that", lockout, boss, putGrants(boss))
}
