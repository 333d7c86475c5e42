package explain

import (
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const none = healthpb.HealthCheckResponse_SERVICE_UNKNOWN

// lease is one of ten seconds that ann was granted.
func lease(change ...func(*rollcallv1.Lease)) *rollcallv1.Lease {
	l := &rollcallv1.Lease{LeaseId: "3f9ac2d18e6b4f05", Ttl: durationpb.New(10 * time.Second), OnExpiry: notServing, Actor: &rollcallv1.Actor{Name: "ann"}, Time: at(-time.Hour), Revision: 5}
	for _, c := range change {
		c(l)
	}
	return l
}

func left(d time.Duration) func(*rollcallv1.Lease) {
	return func(l *rollcallv1.Lease) { l.TimeLeft = durationpb.New(d) }
}

func late(l *rollcallv1.Lease)    { l.Late = true }
func deletes(l *rollcallv1.Lease) { l.OnExpiry = none }
func forgets(l *rollcallv1.Lease) { l.ForgetAfter = durationpb.New(24 * time.Hour) }
func revoked(l *rollcallv1.Lease) { l.Revoked = true }
func ended(l *rollcallv1.Lease)   { l.EndTime = at(-5 * time.Minute) }
func keptUntil(d time.Duration) func(*rollcallv1.Lease) {
	return func(l *rollcallv1.Lease) { l.ForgetTime = at(d) }
}

var (
	engaged  = &rollcallv1.LeaseGuard{Engaged: true, Time: at(-time.Hour), Late: 41, Live: 1052}
	released = &rollcallv1.LeaseGuard{Time: at(-time.Hour), Late: 41, Live: 1052, ReleaseTime: at(-time.Hour)}
)

func TestALeaseInALine(t *testing.T) {
	const begin = "3f9ac2d18e6b4f05 by ann, ttl 10s: "
	for _, test := range []struct {
		l          *rollcallv1.Lease
		guard      *rollcallv1.LeaseGuard
		line, left string
	}{
		{lease(left(7250 * time.Millisecond)), nil, "expires in 7.2s unless it is renewed; then NOT_SERVING", "7.2s"},
		{lease(left(90*time.Second), deletes), nil, "expires in 1m30s unless it is renewed; then deleted", "1m30s"},
		{lease(left(0), late), released, "expires in 0s unless it is renewed; then NOT_SERVING", "0s, late"},
		{lease(left(20*time.Hour), forgets), nil, "expires in 20h unless it is renewed; then NOT_SERVING, deleted 1d later", "20h"},
		{lease(), engaged, "expires unless it is renewed; then NOT_SERVING", "-"},
		{lease(left(-3*time.Minute), late), engaged, "due for 3m, held by the lease guard; then NOT_SERVING", "due for 3m"},
		{lease(left(-200*time.Millisecond), late), nil, "due for 200ms, about to expire; then NOT_SERVING", "due for 200ms"},
		{lease(left(-200*time.Millisecond), late), released, "due for 200ms, about to expire; then NOT_SERVING", "due for 200ms"},
		{lease(ended), nil, "ended 5m ago; its reports are being changed", "ended 5m ago"},
		{lease(ended, forgets, keptUntil(23*time.Hour+55*time.Minute)), nil, "ended 5m ago; the report is deleted in 23h55m, unless it is changed", "ended 5m ago"},
		{lease(ended, revoked, forgets, keptUntil(-time.Second)), nil, "ended 5m ago; the report is deleted soon, unless it is changed", "ended 5m ago"},
	} {
		if got := Lease(now, test.l, test.guard); got != begin+test.line {
			t.Errorf("%q, want %q", got, begin+test.line)
		}
		if got := LeaseLeft(now, test.l); got != test.left {
			t.Errorf("%q, want %q", got, test.left)
		}
	}
	if got := Lease(now, &rollcallv1.Lease{LeaseId: "a\nb"}, nil); got != `a\nb` {
		t.Errorf("%q", got)
	}
}

func TestWhatAReportHangsOn(t *testing.T) {
	leased := func(l *rollcallv1.Lease) *rollcallv1.ServiceRecord {
		rec := record()
		rec.Lease, rec.Report.LeaseId = l, "3f9ac2d18e6b4f05"
		return rec
	}
	for want, rec := range map[string]*rollcallv1.ServiceRecord{
		"-": record(), "ttl 10s": leased(lease()), "ended 5m ago": leased(lease(ended)), "yes": leased(nil),
	} {
		if got := LeaseMark(now, rec); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWhyOfALeasedReport(t *testing.T) {
	const (
		lives    = "The report lives as long as lease 3f9ac2d18e6b4f05 (ttl 10s)"
		turns    = "When the lease expires, the report turns to NOT_SERVING."
		operator = `While it lives, the report is changed only with --lease; "rollcall override set shop/cart STATUS" decides over it.`
	)
	for _, test := range []struct {
		l     *rollcallv1.Lease
		guard *rollcallv1.LeaseGuard
		want  []string
	}{
		{nil, nil, nil},
		{lease(left(7 * time.Second)), nil, []string{lives + ", which expires in 7s unless it is renewed.", turns, operator}},
		{lease(), nil, []string{lives + "; how much time that has, only a leader knows.", turns, operator}},
		{lease(left(-time.Minute)), engaged, []string{lives + `, which is due for 1m. The lease guard holds it: "rollcall lease release-guard" lets it expire.`, turns, operator}},
		{lease(left(-time.Second)), nil, []string{lives + ", which is due for 1s and about to expire.", turns, operator}},
		{lease(left(time.Second), deletes), nil, []string{lives + ", which expires in 1s unless it is renewed.", "When the lease expires, the report is deleted.", operator}},
		{lease(left(time.Second), forgets), nil, []string{lives + ", which expires in 1s unless it is renewed.", "When the lease expires, the report turns to NOT_SERVING, and is deleted 1d later.", operator}},
		{lease(ended, forgets, keptUntil(30*time.Minute)), nil, []string{
			"Its lease 3f9ac2d18e6b4f05 (ttl 10s) expired at 2026-11-22 14:45:00.000. Anybody may change the report.",
			"The report is deleted in 30m, at 15:20, unless somebody changes it before.",
		}},
		{lease(ended, revoked), nil, []string{"Its lease 3f9ac2d18e6b4f05 (ttl 10s) was revoked at 2026-11-22 14:45:00.000. Anybody may change the report."}},
	} {
		rec := record()
		rec.Lease = test.l
		lines := Why(now, rec, test.guard, nil)
		if got := strings.Join(lines[2:len(lines)-1], "\n"); got != strings.Join(test.want, "\n") {
			t.Errorf("%s\nwant\n%s", got, strings.Join(test.want, "\n"))
		}
	}
}

func TestEventsOfLeases(t *testing.T) {
	type event = rollcallv1.Event
	const id = "3f9ac2d18e6b4f05"
	for _, test := range []struct {
		e             *event
		want, subject string
	}{
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED, LeaseId: id, Lease: lease(forgets)}, "lease granted, ttl 10s, then NOT_SERVING, deleted 1d later", id},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_ENDING, LeaseId: id, MatchedCount: 120_000, Lease: lease(ended)}, "lease ending, 120,000 services, changed in parts", id},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, LeaseId: id, MatchedCount: 1, Lease: &rollcallv1.Lease{LeaseId: id}}, "lease ended, 1 service", id},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, LeaseId: id, MatchedCount: 2, Lease: lease(ended, forgets, keptUntil(time.Hour))}, "lease expired, 2 services, deleted at 15:50", id},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, LeaseId: id, MatchedCount: 2, Lease: lease(ended, revoked)}, "lease revoked, 2 services", id},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_FORGOTTEN, LeaseId: id, MatchedCount: 0}, "lease forgotten, 0 services", id},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD, LeaseGuard: engaged}, "lease guard holds leases, 41 of 1,052 were late", ""},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD, LeaseGuard: released}, "lease guard released", ""},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD, LeaseGuard: &rollcallv1.LeaseGuard{Time: at(0)}}, "lease guard holds no leases", ""},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_EXPIRED, Service: "shop/cart", LeaseId: id}, "", "shop/cart"},
		{&event{Type: rollcallv1.EventType_EVENT_TYPE_RULE_SET, Pattern: "shop/*", Rule: &rollcallv1.Rule{Name: "r", MinServing: 1}}, "rule r: at least 1", "shop/*"},
	} {
		if got := Change(now, test.e); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		if got := Subject(test.e); got != test.subject {
			t.Errorf("%s: subject %q, want %q", test.e.GetType(), got, test.subject)
		}
	}
}

func TestTheGuardSaysWhatToDo(t *testing.T) {
	if got, want := Guard(now, engaged), `leases are held since 13:50: 41 of 1,052 were late; "rollcall lease release-guard" lets them expire`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, g := range []*rollcallv1.LeaseGuard{nil, released} {
		if got := Guard(now, g); got != "" {
			t.Errorf("%q", got)
		}
	}
}
