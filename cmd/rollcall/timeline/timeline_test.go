package timeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	none       = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	service    = "shop/cart"
)

func timeOf(revision int64) *timestamppb.Timestamp {
	return timestamppb.New(time.Unix(0, 0).Add(time.Duration(revision) * time.Minute))
}

// happened makes events of lines such as "up", "gone", "lost", "set shop/* down", "clear shop/*", "expire *", from
// revision 1 on.
func happened(lines ...string) (events []*rollcallv1.Event) {
	status := map[string]healthpb.HealthCheckResponse_ServingStatus{"up": serving, "down": notServing}
	for i, line := range lines {
		r := int64(i + 1)
		e := &rollcallv1.Event{Revision: r, CommitRevision: r, Time: timeOf(r), Actor: &rollcallv1.Actor{Name: fmt.Sprint("a", r)}}
		switch f := strings.Fields(line); f[0] {
		case "set":
			e.Type, e.Pattern, e.Status = rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET, f[1], status[f[2]]
		case "clear":
			e.Type, e.Pattern = rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, f[1]
		case "expire":
			e.Type, e.Pattern = rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED, f[1]
		case "gone":
			e.Type, e.Service, e.Status = rollcallv1.EventType_EVENT_TYPE_DELETED, service, none
		case "lost": // a report whose lease expires
			e.Type, e.Service, e.Status, e.LeaseId, e.Detached = rollcallv1.EventType_EVENT_TYPE_EXPIRED, service, notServing, "3f9a", true
		case "overdue": // the same, of a lease that remembers it: --forget-after
			e.Type, e.Service, e.Status, e.LeaseId = rollcallv1.EventType_EVENT_TYPE_EXPIRED, service, notServing, "3f9a"
		case "leased":
			e.Type, e.Service, e.Status, e.LeaseId = rollcallv1.EventType_EVENT_TYPE_REPORTED, service, serving, "3f9a"
		case "kept": // a report whose lease is revoked with --keep-reports
			e.Type, e.Service, e.Status, e.LeaseId, e.Detached = rollcallv1.EventType_EVENT_TYPE_REPORTED, service, serving, "3f9a", true
		default:
			e.Type, e.Service, e.Status = rollcallv1.EventType_EVENT_TYPE_REPORTED, service, status[line]
		}
		events = append(events, e)
	}
	return events
}

// recordsOf answers as a registry in which events happened.
func recordsOf(events []*rollcallv1.Event) func(revision int64) (*rollcallv1.ServiceRecord, error) {
	return func(revision int64) (*rollcallv1.ServiceRecord, error) {
		l := layersOf(service, nil)
		for _, e := range events[:revision] {
			l.apply(e)
		}
		if l.report == nil {
			return nil, nil
		}
		rec := &rollcallv1.ServiceRecord{Service: service, Report: l.report, Status: l.report.GetStatus()}
		pattern.Each(service, func(p string) bool {
			switch o := l.overrides[p]; {
			case o == nil:
			case rec.Override == nil:
				rec.Override, rec.Status = o, o.GetStatus()
			default:
				rec.Shadowed = append(rec.Shadowed, o)
			}
			return true
		})
		return rec, nil
	}
}

func show(periods []Period) string {
	var lines []string
	for _, p := range periods {
		line := fmt.Sprintf("%d %s %s", p.Revision, p.Status, p.Actor.GetName())
		if p.Override != nil {
			line += fmt.Sprintf(" by %s over %s", p.Override.GetPattern(), p.Report.GetStatus())
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// A report beneath an override says which lease it is attached to.
func TestAReportBeneathKnowsItsLease(t *testing.T) {
	for lines, want := range map[string]string{
		"leased, set * down": "3f9a", "set * down, leased": "3f9a", "set * down, leased, up": "",
		"leased, set * down, kept": "", "leased, kept, set * down": "", "leased, set * down, lost": "", "leased, set * down, overdue": "3f9a",
	} {
		events := happened(strings.Split(lines, ", ")...)
		got, err := Build(service, nil, true, events, recordsOf(events))
		if err != nil {
			t.Fatal(err)
		}
		if last := got[len(got)-1]; last.Report == nil || last.Report.GetLeaseId() != want {
			t.Errorf("%s: the report is %v, want lease %q", lines, last.Report, want)
		}
	}
}

func TestTimeline(t *testing.T) {
	for _, test := range []struct {
		what   string
		events []*rollcallv1.Event
		want   string
	}{
		{"reports", happened("up", "down", "gone", "up"), "1 SERVING a1\n2 NOT_SERVING a2\n3 SERVICE_UNKNOWN a3\n4 SERVING a4"},
		{"an override comes and goes", happened("up", "set shop/* down", "clear shop/*"), "1 SERVING a1\n2 NOT_SERVING a2 by shop/* over SERVING\n3 SERVING a1"},
		{"a report beneath", happened("up", "set shop/* down", "down", "down", "expire shop/*"),
			"1 SERVING a1\n2 NOT_SERVING a2 by shop/* over SERVING\n3 NOT_SERVING a2 by shop/* over NOT_SERVING\n5 NOT_SERVING a4"},
		{"what does not decide makes no line", happened("up", "set shop/* down", "set * up", "clear *"), "1 SERVING a1\n2 NOT_SERVING a2 by shop/* over SERVING"},
		{"the next one decides", happened("up", "set * down", "set shop/cart up", "set ** down", "clear **", "clear shop/cart", "clear *"),
			"1 SERVING a1\n2 NOT_SERVING a2 by * over SERVING\n3 SERVING a3 by shop/cart over SERVING\n4 NOT_SERVING a4 by ** over SERVING\n5 SERVING a3 by shop/cart over SERVING\n6 NOT_SERVING a2 by * over SERVING\n7 SERVING a1"},
		{"overrides make nothing exist", happened("set * down", "set shop/* up", "up", "gone", "clear shop/*", "up"),
			"3 SERVING a2 by shop/* over SERVING\n4 SERVICE_UNKNOWN a4\n6 NOT_SERVING a1 by * over SERVING"},
		{"a lease expires", happened("up", "lost", "up"), "1 SERVING a1\n2 NOT_SERVING a2\n3 SERVING a3"},
		{"a lease expires beneath", happened("up", "set * up", "lost", "clear *"), "1 SERVING a1\n2 SERVING a2 by * over SERVING\n3 SERVING a2 by * over NOT_SERVING\n4 NOT_SERVING a3"},
		{"set anew", happened("up", "set * down", "set * down"), "1 SERVING a1\n2 NOT_SERVING a2 by * over SERVING\n3 NOT_SERVING a3 by * over SERVING"},
	} {
		got, err := Build(service, nil, true, test.events, recordsOf(test.events))
		if err != nil {
			t.Fatal(err)
		}
		if show(got) != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.what, show(got), test.want)
		}
		for i, p := range got {
			if want := timeOf(p.Revision).AsTime(); !p.Start.Equal(want) {
				t.Errorf("%s: line %d begins at %s, want %s", test.what, i, p.Start, want)
			}
			if last := i == len(got)-1; last != p.End.IsZero() || !last && !p.End.Equal(got[i+1].Start) {
				t.Errorf("%s: line %d ends at %s", test.what, i, p.End)
			}
		}
	}
}

// possible leaves out what cannot happen: deleting what does not exist, a lease of nothing, ending an override that is not set.
func possible(lines []string) (out []string) {
	set := map[string]bool{}
	for _, line := range lines {
		f := strings.Fields(line)
		key, ends := service, f[0] == "gone"
		if f[0] == "lost" && !set[service] {
			continue
		}
		if len(f) > 1 {
			key, ends = f[1]+" override", f[0] != "set"
		}
		if ends && !set[key] {
			continue
		}
		set[key] = !ends
		out = append(out, line)
	}
	return out
}

// A timeline that begins anywhere, with the record before, is the end of the whole one.
func TestATimelineBeginsAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{
			"up", "down", "gone", "lost", "set * down", "set * up", "clear *", "set shop/* down", "expire shop/*", "set ** down", "clear **", "set shop/cart up", "clear shop/cart",
		}), 1, 20).Draw(t, "events")
		events := happened(possible(lines)...)
		if len(events) == 0 {
			return
		}
		at := recordsOf(events)
		whole, err := Build(service, nil, true, events, at)
		if err != nil {
			t.Fatal(err)
		}
		from := rapid.IntRange(0, len(events)-1).Draw(t, "from")
		before, _ := at(int64(from))
		absent := before == nil && rapid.Bool().Draw(t, "known to be absent")
		part, err := Build(service, before, absent, events[from:], at)
		if err != nil {
			t.Fatal(err)
		}
		want := whole
		for len(want) > 1 && want[1].Revision <= int64(from) {
			want = want[1:]
		}
		// The first line is the one that held before; if the service was deleted then, it is not known.
		if len(want) > 0 && want[0].Revision <= int64(from) && before == nil {
			want = want[1:]
		}
		// The record tells the revision of what decides, not that of the event by which it came to.
		if before != nil && len(want) > 0 && len(part) > 0 && want[0].Revision <= int64(from) {
			part[0].Revision = want[0].Revision
		}
		if show(part) != show(want) {
			t.Fatalf("of %q from %d on:\n%s\nwant\n%s", lines, from, show(part), show(want))
		}
	})
}

func TestAnErrorOfTheRegistryEndsIt(t *testing.T) {
	failed := errors.New("no node answers")
	_, err := Build(service, nil, false, happened("set * down"), func(int64) (*rollcallv1.ServiceRecord, error) { return nil, failed })
	if !errors.Is(err, failed) {
		t.Error(err)
	}
}
