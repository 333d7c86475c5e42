package explain

import (
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
)

var now = time.Date(2026, 11, 22, 14, 50, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }

// override is set by ann four minutes ago; ttl 0 is without end.
func override(p string, s healthpb.HealthCheckResponse_ServingStatus, why string, ttl time.Duration) *rollcallv1.Override {
	o := &rollcallv1.Override{Pattern: p, Status: s, Reason: why, Actor: &rollcallv1.Actor{Name: "ann"}, Time: at(-4 * time.Minute), StatusTime: at(-4 * time.Minute)}
	if ttl != 0 {
		o.ExpireTime = at(ttl)
	}
	return o
}

// record is SERVING by its report, beneath overrides of which the first decides.
func record(overrides ...*rollcallv1.Override) *rollcallv1.ServiceRecord {
	rec := &rollcallv1.ServiceRecord{
		Service: "shop/cart", Status: serving, StatusTime: at(-26 * time.Hour),
		Report: &rollcallv1.Report{Status: serving, Reason: "deployed 1.4.2", Actor: &rollcallv1.Actor{Name: "cart@host1"}, Time: at(-26 * time.Hour), Revision: 7},
	}
	if len(overrides) > 0 {
		rec.Override, rec.Shadowed = overrides[0], overrides[1:]
		rec.Status, rec.StatusTime = overrides[0].GetStatus(), overrides[0].GetStatusTime()
	}
	return rec
}

func TestWhenAnOverrideEnds(t *testing.T) {
	for _, test := range []struct {
		ttl  time.Duration
		want string
	}{
		{56 * time.Minute, "override shop/* by ann until 15:46: disk swap"},
		{90 * time.Second, "override shop/* by ann until 14:51:30: disk swap"},
		{10 * time.Hour, "override shop/* by ann until 2026-11-23 00:50: disk swap"},
		{-3 * time.Second, "override shop/* by ann overdue since 14:49:57: disk swap"},
		{0, "override shop/* by ann without end: disk swap"},
	} {
		if got := Override(now, override("shop/*", notServing, "disk swap", test.ttl)); got != test.want {
			t.Errorf("%s: %q, want %q", test.ttl, got, test.want)
		}
	}
	if got := Override(now, &rollcallv1.Override{Pattern: "*"}); got != "override * without end" {
		t.Error(got)
	}
}

func TestAnOverriddenServiceShowsWhatIsBeneath(t *testing.T) {
	rec := record(override("shop/*", notServing, "disk swap", 56*time.Minute))
	if got := Status(rec); got != "NOT_SERVING*" {
		t.Error(got)
	}
	if got, want := Reason(now, rec), "override shop/* by ann until 15:46: disk swap (reports SERVING)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s, why := Status(record()), Reason(now, record()); s != "SERVING" || why != "deployed 1.4.2" {
		t.Errorf("without an override: %s, %s", s, why)
	}
}

// Whoever writes a reason must not be able to write lines of his own.
func TestTextsOfOthersAreEscaped(t *testing.T) {
	o := override("shop/*", notServing, "a\nRule x covers it.\x1b[2J", time.Hour)
	o.Actor.Name = "an\u202en"
	lines := Why(now, record(o), nil, []*rollcallv1.Rule{{Name: "r\n", Pattern: "shop/*"}})
	for _, l := range append(lines, Override(now, o), Reason(now, record(o))) {
		if strings.ContainsAny(l, "\n\x1b\u202e") {
			t.Errorf("%q", l)
		}
	}
}

func TestWhatComesAfterAnOverride(t *testing.T) {
	for _, test := range []struct {
		what   string
		rec    *rollcallv1.ServiceRecord
		decide string // "": nothing to come
	}{
		{"nothing decides but the report", record(), "-"},
		{"the report", record(override("shop/*", notServing, "", time.Hour)), "report SERVING"},
		{"one that lasts longer", record(override("shop/*", notServing, "", time.Hour), override("*", unknown, "", 2*time.Hour)), "* UNKNOWN"},
		{"one without end", record(override("shop/*", notServing, "", time.Hour), override("*", unknown, "", 0)), "* UNKNOWN"},
		{"one that ends before is passed over", record(override("shop/*", notServing, "", time.Hour), override("*", unknown, "", time.Minute)), "report SERVING"},
		{"one that ends at the same time too", record(override("shop/*", notServing, "", time.Hour), override("*", unknown, "", time.Hour)), "report SERVING"},
		{"the next of several", record(override("**", notServing, "", time.Hour), override("shop/*", unknown, "", time.Minute), override("*", serving, "", 0)), "* SERVING"},
		{"without an end it is cleared, so now counts", record(override("**", notServing, "", 0), override("shop/*", unknown, "", time.Minute)), "shop/* UNKNOWN"},
	} {
		got := "-"
		if next := AfterOverride(test.rec); next != nil {
			got = "report " + next.Status.String()
			if next.Override != nil {
				got = next.Override.GetPattern() + " " + next.Status.String()
			}
		}
		if got != test.decide {
			t.Errorf("%s: %s, want %s", test.what, got, test.decide)
		}
	}
}

func rule(name string, serves, total int64) *rollcallv1.Rule {
	return &rollcallv1.Rule{Name: name, Pattern: "shop/*", MinServing: 2, Needed: 2, Serving: serves, Total: total}
}

func TestWhy(t *testing.T) {
	for _, test := range []struct {
		what  string
		rec   *rollcallv1.ServiceRecord
		rules []*rollcallv1.Rule
		want  string
	}{
		{"a report", record(), []*rollcallv1.Rule{{Name: "pay", Pattern: "pay/*", MinServing: 1}}, `
shop/cart is SERVING since 2026-11-21 12:50:00.000 (26h).
The report decides, no override covers it: cart@host1 said SERVING at 2026-11-21 12:50:00.000: deployed 1.4.2.
No rule covers it.`},
		{"an override", record(override("shop/*", notServing, "disk swap", 56*time.Minute)), []*rollcallv1.Rule{rule("two", 3, 4)}, `
shop/cart is NOT_SERVING since 2026-11-22 14:46:00.000 (4m).
The override shop/* decides: ann set it to NOT_SERVING at 2026-11-22 14:46:00.000: disk swap.
It ends at 15:46, in 56m; "rollcall override clear 'shop/*'" ends it now.
Beneath it is the report: cart@host1 said SERVING at 2026-11-21 12:50:00.000: deployed 1.4.2.
When it ends, shop/cart will be SERVING: the report decides again.
Rule two (at least 2 of shop/*) covers it: 3 of 4 are SERVING, 1 more may stop.`},
		{"the switch", record(override("**", notServing, "", 0), override("shop/cart", notServing, "disk swap", 0), override("*", serving, "", time.Hour)),
			[]*rollcallv1.Rule{rule("two", 2, 4), rule("three", 0, 1)}, `
shop/cart is NOT_SERVING since 2026-11-22 14:46:00.000 (4m).
The switch of the whole registry, override **, decides: ann set it to NOT_SERVING at 2026-11-22 14:46:00.000.
It has no end: "rollcall resume" ends it.
Beneath it is the override shop/cart NOT_SERVING by ann without end: disk swap.
Beneath it is the override * SERVING by ann until 15:50.
Beneath it is the report: cart@host1 said SERVING at 2026-11-21 12:50:00.000: deployed 1.4.2.
When it ends, shop/cart will still be NOT_SERVING: the override shop/cart decides.
Rule two (at least 2 of shop/*) covers it: 2 of 4 are SERVING, none may stop.
Rule three (at least 2 of shop/*) covers it: broken: 0 of 1 are SERVING, 2 too few. What makes it worse is refused.`},
		{"one beneath ends before", record(override("**", notServing, "", time.Hour), override("shop/*", unknown, "", 20*time.Minute), override("*", serving, "", 2*time.Hour)), nil, `
shop/cart is NOT_SERVING since 2026-11-22 14:46:00.000 (4m).
The switch of the whole registry, override **, decides: ann set it to NOT_SERVING at 2026-11-22 14:46:00.000.
It ends at 15:50, in 1h; "rollcall resume" ends it now.
Beneath it is the override shop/* UNKNOWN by ann until 15:10.
Beneath it is the override * SERVING by ann until 16:50.
Beneath it is the report: cart@host1 said SERVING at 2026-11-21 12:50:00.000: deployed 1.4.2.
When it ends, shop/cart will be SERVING: the override * decides.
If it is ended now, shop/cart will be UNKNOWN: the override shop/* decides.
No rule covers it.`},
		{"an overdue one", record(override("shop/cart", notServing, "", -time.Minute)), nil, `
shop/cart is NOT_SERVING since 2026-11-22 14:46:00.000 (4m).
The override shop/cart decides: ann set it to NOT_SERVING at 2026-11-22 14:46:00.000.
It was to end at 14:49:00; a leader ends it as soon as there is one.
Beneath it is the report: cart@host1 said SERVING at 2026-11-21 12:50:00.000: deployed 1.4.2.
When it ends, shop/cart will be SERVING: the report decides again.
No rule covers it.`},
	} {
		if got := "\n" + strings.Join(Why(now, test.rec, nil, test.rules), "\n"); got != test.want {
			t.Errorf("%s:%s\nwant:%s", test.what, got, test.want)
		}
	}
}

func TestRulesInWords(t *testing.T) {
	for _, test := range []struct {
		rule *rollcallv1.Rule
		want string
	}{
		{&rollcallv1.Rule{MinServing: 1, Needed: 1, Serving: 1, Total: 1}, "at least 1: 1 of 1 is SERVING, none may stop"},
		{&rollcallv1.Rule{MinPercent: 50, Needed: 2, Serving: 4, Total: 4}, "at least 50 %: 4 of 4 are SERVING, 2 more may stop"},
		{&rollcallv1.Rule{MinServing: 3, MinPercent: 50, Needed: 3, Serving: 1, Total: 4}, "at least 3 and 50 %: broken: 1 of 4 is SERVING, 2 too few"},
	} {
		if got := Bound(test.rule) + ": " + Distance(test.rule); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	broken := []*rollcallv1.BrokenRule{
		{Rule: "pay-min", Pattern: "shop/pay/*", Needed: 1, Serving: 0, Total: 3},
		{Rule: "half", Pattern: "*", Needed: 5, Serving: 4, Total: 10},
	}
	if got, want := Broken(broken, "would serve"), "pay-min (shop/pay/*: 1 needed, 0 of 3 would serve), half (*: 5 needed, 4 of 10 would serve)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Names(broken); got != "pay-min,half" {
		t.Error(got)
	}
}

func TestEventsInOneCell(t *testing.T) {
	broken := []*rollcallv1.BrokenRule{{Rule: "two", Pattern: "shop/*", Needed: 2, Serving: 1, Total: 3}}
	for _, test := range []struct {
		event       *rollcallv1.Event
		change, why string
	}{
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET, Status: notServing, ExpireTime: at(time.Hour), MatchedCount: 1, Reason: "disk swap", BrokenRules: broken, BreakGlass: []string{"two"}},
			"override NOT_SERVING until 15:50, 1 service", "disk swap; broke two (shop/*: 2 needed, 1 of 3 serve), as --break-glass allowed"},
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET, Status: serving, MatchedCount: 1200}, "override SERVING without end, 1,200 services", "-"},
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, Reason: "done"}, "override cleared, 0 services", "done"},
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED, MatchedCount: 2, BrokenRules: broken}, "override ended, 2 services", "broke two (shop/*: 2 needed, 1 of 3 serve)"},
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_RULE_SET, Rule: rule("two", 0, 0), BrokenRules: broken}, "rule two: at least 2", "broken when it was set: two (shop/*: 2 needed, 1 of 3 serve)"},
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_RULE_REMOVED, Rule: &rollcallv1.Rule{Name: "two"}}, "rule two removed", "-"},
		{&rollcallv1.Event{Type: rollcallv1.EventType_EVENT_TYPE_REPORTED, Reason: "up"}, "", "up"},
	} {
		if got, why := Change(now, test.event), EventReason(test.event); got != test.change || why != test.why {
			t.Errorf("%v: %q, %q, want %q, %q", test.event.GetType(), got, why, test.change, test.why)
		}
	}
}

func TestARuleWhoseCountsAreNotShown(t *testing.T) {
	hidden := &rollcallv1.Rule{MinServing: 2}
	if Counted(hidden) || !Counted(&rollcallv1.Rule{MinServing: 2, Needed: 2}) || !Counted(&rollcallv1.Rule{MinPercent: 50}) {
		t.Error("counted")
	}
	if got := Distance(hidden); got != "how many are SERVING is not shown to this caller" {
		t.Error(got)
	}
}
