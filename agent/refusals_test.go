package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// TestTheAgentSaysWhyItsReportsAreRefused: on its page, in its metrics and to the service manager, until they are taken.
func TestTheAgentSaysWhyItsReportsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		cfg := file(watched("shop", checked("c", "1", &probe{})))
		a := start(t, reg, cfg)
		p := serveHTTP(t, a.Agent, cfg)
		time.Sleep(10 * time.Second)
		tell := func(e client.LeaseEvent) {
			reg.mu.Lock()
			onEvent := reg.leases[client.StopNotServing].onEvent
			reg.mu.Unlock()
			onEvent(e)
		}
		revoked := &client.Error{Code: codes.Unauthenticated, Reason: client.ReasonTokenRevoked, Message: "the token was revoked"}
		for name, end := range map[string]client.LeaseEventType{
			"all is reported":    client.LeaseReported,
			"another is granted": client.LeaseGranted,
			"it is renewed":      client.LeaseRenewedAgain,
		} {
			tell(client.LeaseEvent{Type: client.LeaseFailed, Err: revoked})
			began := time.Now()
			time.Sleep(time.Minute)
			tell(client.LeaseEvent{Type: client.LeaseFailed, Err: revoked})
			text := p.ask("GET", "/", "", 200, "refuses this agent's reports since "+began.UTC().Format(time.RFC3339)+" (1m0s ago): TOKEN_REVOKED: the token was revoked")
			if strings.Contains(text, "does not take") {
				t.Errorf("one service is blamed:\n%s", text)
			}
			p.ask("GET", "/metrics", "", 200, `rollcall_agent_reports_refused{reason="TOKEN_REVOKED"} 1`)
			if role := a.Role(); !strings.HasSuffix(role, "; the registry refuses the reports: TOKEN_REVOKED") {
				t.Errorf("its role is %q", role)
			}
			tell(client.LeaseEvent{Type: end, LeaseID: "7"})
			if text := p.ask("GET", "/", "", 200); strings.Contains(text, "refuses") {
				t.Errorf("%s: it says\n%s", name, text)
			}
			p.ask("GET", "/metrics", "", 200, `rollcall_agent_reports_refused{reason=""} 0`)
		}
		// Trouble on the way is no refusal.
		tell(client.LeaseEvent{Type: client.LeaseFailed, Err: &client.Error{Code: codes.Unavailable, Reason: client.ReasonNoEndpoint}})
		tell(client.LeaseEvent{Type: client.LeaseFailed, Service: "shop/" + address, Err: &client.Error{Code: codes.DeadlineExceeded}})
		tell(client.LeaseEvent{Type: client.LeaseFailed, Err: errors.New("no endpoint answers")})
		if text := p.ask("GET", "/", "", 200); strings.Contains(text, "refuses") || strings.Contains(text, "does not take") {
			t.Errorf("it says\n%s", text)
		}
		reg.do(func() { reg.why = errors.New("watch names: token:ci may not read shop"); reg.silent = true })
		time.Sleep(time.Minute)
		p.ask("GET", "/", "", 200, "has not been heard for", "(watch names: token:ci may not read shop)")
		a.stop()
	})
}

// TestTheAgentSaysWhichReportIsRefused: while the registry does not have it, and only then.
func TestTheAgentSaysWhichReportIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		cfg := file(watched("shop", checked("c", "1", &probe{})), watched("pay", checked("c", "1", &probe{})))
		a := start(t, reg, cfg)
		p := serveHTTP(t, a.Agent, cfg)
		time.Sleep(10 * time.Second)
		reg.mu.Lock()
		l := reg.leases[client.StopNotServing]
		at := l.written["shop/"+address]
		delete(l.written, "shop/"+address)
		reg.mu.Unlock()
		denied := &client.Error{Code: codes.PermissionDenied, Reason: client.ReasonDenied, Message: "token:ci may not report shop"}
		l.onEvent(client.LeaseEvent{Type: client.LeaseFailed, Service: "shop/" + address, Err: denied})
		p.ask("GET", "/?service=shop", "", 200, "warning: the registry does not take what is reported of shop/"+address, "DENIED: token:ci may not report shop")
		p.ask("GET", "/metrics", "", 200, `rollcall_agent_service_refused{service="shop"} 1`, `rollcall_agent_service_refused{service="pay"} 0`, `rollcall_agent_reports_refused{reason=""} 0`)
		reg.mu.Lock()
		l.written["shop/"+address] = at
		reg.mu.Unlock()
		p.ask("GET", "/metrics", "", 200, `rollcall_agent_service_refused{service="shop"} 0`)
		if text := p.ask("GET", "/?service=shop", "", 200); strings.Contains(text, "does not take") {
			t.Errorf("it says\n%s", text)
		}
		a.stop()
	})
}

// TestServicesThatAreGoneAreForgotten: a service that is dropped, and comes back, is not refused for what was before.
func TestServicesThatAreGoneAreForgotten(t *testing.T) {
	r := newRefusals()
	l := &leaseEvents{}
	never := func(string) bool { return false }
	r.failed(l, "a", &client.Error{Code: codes.PermissionDenied})
	r.failed(l, "b", &client.Error{Code: codes.FailedPrecondition, Reason: client.ReasonRuleBroken})
	if r.of("a", never).err == nil || r.of("b", never).err == nil || r.all().err != nil {
		t.Error("they are not refused")
	}
	r.forget("a")
	if r.of("a", never).err != nil || r.of("b", never).shown().Reason != client.ReasonRuleBroken {
		t.Error("a is not forgotten, or b is")
	}
	if r.of("b", func(string) bool { return true }).err != nil || r.of("b", never).err != nil {
		t.Error("what is acknowledged is refused")
	}
}
