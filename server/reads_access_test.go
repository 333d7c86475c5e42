package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// naive is what a caller may read, as one would say it without thinking of how fast that is.
type naive struct {
	anonymous bool
	grants    []access.Grant
}

func (w naive) may(verb access.Verbs) bool { return access.New(w.grants...).Whole(verb) }

func (w naive) allows(name string) bool { return access.New(w.grants...).Allows(access.Read, name) }

// meets says that something of what p covers may be read; all: that all of it may be.
func (w naive) meets(p string) (some, all bool) {
	for _, g := range w.grants {
		if g.Verbs&access.Read != 0 {
			some = some || pattern.Contains(g.Pattern, p) || pattern.Contains(p, g.Pattern)
			all = all || pattern.Contains(g.Pattern, p)
		}
	}
	return some, all
}

// begins says that something may be read whose name begins with prefix.
func (w naive) begins(prefix string) bool {
	return slices.ContainsFunc(w.grants, func(g access.Grant) bool { return g.Verbs&access.Read != 0 && pattern.Meets(g.Pattern, prefix) })
}

// refusal is the reason for which a read is refused.
func (w naive) refusal() string {
	if w.anonymous && !slices.ContainsFunc(w.grants, func(g access.Grant) bool { return g.Verbs != 0 }) {
		return rpcerror.ReasonNoCredentials
	}
	return rpcerror.ReasonDenied
}

// sees says that an event is shown, and returns what of it.
func (w naive) sees(e *rollcallv1.Event) (*rollcallv1.Event, bool) {
	e = proto.CloneOf(e)
	switch {
	case e.GetAccess() != nil || e.GetType() == rollcallv1.EventType_EVENT_TYPE_ACCESS_CHANGED:
		return e, w.may(access.Auth)
	case e.GetService() != "":
		return e, w.allows(e.GetService())
	case e.GetPattern() != "":
		some, all := w.meets(e.GetPattern())
		if !all {
			e.MatchedCount = 0
		}
		return e, some
	case e.GetMember() != nil:
		return e, w.may(access.Read) || w.may(access.Status)
	}
	return e, w.may(access.Read)
}

var readNames = []string{"a", "a/b", "a/b/c", "a.b", "ab", "b", "b/c", "shop/cart", "shop/pay"}

func drawGrants(t *rapid.T, label string) []access.Grant {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) access.Grant {
		verbs := rapid.SampledFrom([]access.Verbs{access.Read, access.Read, access.Read | access.Status, access.Report, access.Status, access.Auth | access.Read, access.Backup}).Draw(t, "verbs")
		p := rapid.SampledFrom([]string{"*", "a", "a/b", "a/*", "a/b/*", "a.*", "b", "b/*", "shop/*", "shop/cart", "nothing/*"}).Draw(t, "pattern")
		return access.Grant{Verbs: verbs, Pattern: p}
	}), 0, 3).Draw(t, label)
}

// noteOther adds an event that is of no service.
func (f *fakeRegistry) noteOther(e *logv1.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	e.Revision, e.CommitRevision, e.MatchedCount = f.revision, f.revision, 7
	f.events = append(f.events, e)
	f.wake()
}

// fill makes a registry of random services, overrides, rules and events.
func (f *fakeRegistry) fill(t *rapid.T) {
	f.mu.Lock()
	f.services, f.revision, f.fakeHistory, f.layers = map[string]Status{}, 0, fakeHistory{}, fakeLayers{}
	f.mu.Unlock()
	note := f.noteOther
	patterns := rapid.SampledFrom([]string{"*", "**", "a", "a/*", "shop/*", "b/c", "a/b/*"})
	for range rapid.IntRange(0, 30).Draw(t, "writes") {
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			note(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_OVERRIDE_SET, Kind: logv1.Kind_KIND_OVERRIDE, Key: patterns.Draw(t, "override")})
		case 1:
			after, _ := (&logv1.Rule{Pattern: patterns.Draw(t, "rule")}).MarshalVT()
			note(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_RULE_SET, Kind: logv1.Kind_KIND_RULE, Key: "r", After: after})
		case 2:
			after, _ := (&logv1.Auth{Enforced: true}).MarshalVT()
			note(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_ACCESS_CHANGED, Kind: logv1.Kind_KIND_AUTH, Key: "auth", After: after})
		case 3:
			note(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Kind: logv1.Kind_KIND_MEMBER, Key: "n1"})
		case 4:
			f.setAll(rapid.SampledFrom([]Status{serving, notServing}).Draw(t, "all"), rapid.SliceOfNDistinct(rapid.SampledFrom(readNames), 2, 4, rapid.ID).Draw(t, "names")...)
		default:
			f.set(rapid.SampledFrom(readNames).Draw(t, "name"), rapid.SampledFrom([]Status{serving, notServing, serviceUnknown}).Draw(t, "status"))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range slices.Sorted(slices.Values(rapid.SliceOfNDistinct(patterns, 0, 5, rapid.ID).Draw(t, "overrides"))) {
		f.layers.overrides = append(f.layers.overrides, &rollcallv1.Override{Pattern: p})
	}
	for i, p := range rapid.SliceOfN(patterns, 0, 4).Draw(t, "rules") {
		f.layers.rules = append(f.layers.rules, &rollcallv1.Rule{Name: fmt.Sprint("r", i), Pattern: p, Needed: 4, Serving: 2, Total: 5})
	}
}

// readTold is what one read was told: lines of text, or why not.
type readTold struct {
	lines    []string
	reason   string // of a refusal; "": it was answered
	filtered bool
}

func (a readTold) equal(b readTold) bool {
	return slices.Equal(a.lines, b.lines) && a.reason == b.reason && a.filtered == b.filtered
}

// line is one line of what was told.
func line(m proto.Message) string {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return fmt.Sprintf("%T %x", m, b)
}

// asked makes a call, whose header says whether it was filtered.
func asked(call func(header grpc.CallOption) error) (out readTold) {
	var md metadata.MD
	err := call(grpc.Header(&md))
	out.filtered = len(md.Get(authz.MetadataFiltered)) > 0
	if err != nil {
		out.reason = cmpReason(err)
	}
	return out
}

func cmpReason(err error) string {
	if info := rpcerror.InfoOf(status.Convert(err)); info != nil {
		return info.GetReason()
	}
	return err.Error()
}

// readings are the unary reads of everything, named.
func (n *testNode) readings(ctx context.Context, t *rapid.T, prefix, exact string, statuses []Status, at *rollcallv1.At, page int32) map[string]readTold {
	all := map[string]readTold{}
	for _, name := range append(slices.Clone(readNames), "", "rollcall.live", "none") {
		var res *healthpb.HealthCheckResponse
		out := asked(func(h grpc.CallOption) (err error) {
			res, err = n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: name}, h)
			return err
		})
		if out.reason == "" {
			out.lines = []string{res.GetStatus().String()}
		}
		all["Check "+name] = out

		var record *rollcallv1.GetServiceResponse
		out = asked(func(h grpc.CallOption) (err error) {
			record, err = n.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: name, At: at}, h)
			return err
		})
		if out.reason == "" {
			out.lines = []string{line(record)}
		}
		all["GetService "+name] = out
	}
	all["List"] = asked(func(h grpc.CallOption) error {
		_, err := n.health().List(ctx, &healthpb.HealthListRequest{}, h)
		return err
	})
	if res, err := n.health().List(ctx, &healthpb.HealthListRequest{}); err == nil {
		out := all["List"]
		for _, name := range slices.Sorted(maps.Keys(res.GetStatuses())) {
			out.lines = append(out.lines, name+" "+res.GetStatuses()[name].GetStatus().String())
		}
		all["List"] = out
	}
	var services, overrides, events, rules []string
	out := asked(func(h grpc.CallOption) error {
		return pages(t, func(token string) (string, error) {
			res, err := n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{Prefix: prefix, Statuses: statuses, At: at, PageSize: page, PageToken: token}, h)
			for _, r := range res.GetServices() {
				services = append(services, r.GetService()+" "+line(r))
			}
			return res.GetNextPageToken(), err
		})
	})
	out.lines = services
	all["ListServices"] = out
	out = asked(func(h grpc.CallOption) error {
		return pages(t, func(token string) (string, error) {
			res, err := n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{PageSize: page, PageToken: token}, h)
			for _, o := range res.GetOverrides() {
				overrides = append(overrides, o.GetPattern())
			}
			return res.GetNextPageToken(), err
		})
	})
	out.lines = overrides
	all["ListOverrides"] = out
	out = asked(func(h grpc.CallOption) error {
		res, err := n.reads().ListRules(ctx, &rollcallv1.ListRulesRequest{}, h)
		for _, r := range res.GetRules() {
			rules = append(rules, fmt.Sprint(r.GetName(), " ", r.GetPattern(), " ", r.GetNeeded(), r.GetServing(), r.GetTotal()))
		}
		return err
	})
	out.lines = rules
	all["ListRules"] = out
	for what, req := range map[string]*rollcallv1.ListEventsRequest{
		"all": {}, "prefix": {Prefixes: []string{prefix}}, "service": {Service: exact}, "newest": {NewestFirst: true},
		"types": {Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_REPORTED, rollcallv1.EventType_EVENT_TYPE_RULE_SET}},
	} {
		events = nil
		out = asked(func(h grpc.CallOption) error {
			return pages(t, func(token string) (string, error) {
				req.PageSize, req.PageToken = page, token
				res, err := n.reads().ListEvents(ctx, req, h)
				for _, e := range res.GetEvents() {
					events = append(events, line(e))
				}
				return res.GetNextPageToken(), err
			})
		})
		out.lines = events
		all["ListEvents "+what] = out
	}
	all["GetStatus"] = asked(func(h grpc.CallOption) error {
		_, err := n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{}, h)
		return err
	})
	all["Verify"] = asked(func(h grpc.CallOption) error {
		_, err := n.cluster().Verify(ctx, &rollcallv1.VerifyRequest{}, h)
		return err
	})
	all["ExportSnapshot"] = asked(func(h grpc.CallOption) error {
		stream, err := n.cluster().ExportSnapshot(ctx, &rollcallv1.ExportSnapshotRequest{}, h)
		for err == nil {
			_, err = stream.Recv()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return all
}

// pages reads all pages of a list.
func pages(t *rapid.T, read func(token string) (next string, err error)) error {
	for token, n := "", 0; ; n++ {
		next, err := read(token)
		if err != nil || next == "" {
			return err
		}
		if n > 1000 {
			t.Fatal("the list has no end")
		}
		token = next
	}
}

// naiveReading is what of an unfiltered reading is told to a caller.
func naiveReading(t *rapid.T, what string, all readTold, who naive, prefix, exact string) readTold {
	call, arg, _ := strings.Cut(what, " ")
	denied := readTold{reason: who.refusal()}
	keep := func(keep func(line string) (string, bool)) readTold {
		out := readTold{filtered: !who.may(access.Read)}
		for _, line := range all.lines {
			if line, ok := keep(line); ok {
				out.lines = append(out.lines, line)
			}
		}
		return out
	}
	verb := func(verb access.Verbs) readTold {
		if !who.may(verb) {
			return denied
		}
		return all
	}
	named := func(name string) (string, bool) {
		name, _, _ = strings.Cut(name, " ")
		return name, who.allows(name)
	}
	events := func() readTold {
		return keep(func(line string) (string, bool) {
			var e rollcallv1.Event
			var b []byte
			_, _ = fmt.Sscanf(line, "*rollcallv1.Event %x", &b)
			if err := proto.Unmarshal(b, &e); err != nil {
				t.Fatal(err)
			}
			return seen(who, &e)
		})
	}
	switch call {
	case "Check", "GetService":
		if !who.allows(arg) {
			return denied
		}
		return all
	case "List":
		if !who.begins("") {
			return denied
		}
		return keep(func(line string) (string, bool) { _, ok := named(line); return line, ok })
	case "ListServices":
		if !who.begins(prefix) {
			return denied
		}
		return keep(func(line string) (string, bool) { _, ok := named(line); return line, ok })
	case "ListOverrides":
		if !who.begins("") {
			return denied
		}
		return keep(func(line string) (string, bool) { some, _ := who.meets(line); return line, some })
	case "ListRules":
		if !who.begins("") {
			return denied
		}
		return keep(func(line string) (string, bool) {
			fields := strings.Fields(line)
			some, all := who.meets(fields[1])
			if !all {
				line = fmt.Sprint(fields[0], " ", fields[1], " ", 0, 0, 0)
			}
			return line, some
		})
	case "GetStatus", "Verify":
		return verb(access.Status)
	case "ExportSnapshot":
		return verb(access.Backup)
	}
	if arg == "service" && exact != "" {
		if !who.allows(exact) {
			return denied
		}
		return events()
	}
	if arg == "prefix" && !who.begins(prefix) || !who.begins("") && (arg == "prefix" || !who.may(access.Auth)) {
		return denied
	}
	out := events()
	out.filtered = out.filtered || (arg == "all" || arg == "newest" || arg == "service") && !who.may(access.Auth)
	return out
}

func seen(who naive, e *rollcallv1.Event) (string, bool) {
	e, ok := who.sees(e)
	return line(e), ok
}

// TestEveryReadTellsWhatANaiveFilterDoes compares every unary read of callers with random grants with a naive filter of
// what is told while access is off.
func TestEveryReadTellsWhatANaiveFilterDoes(t *testing.T) {
	n := single(t)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	n.exporter.content, n.exporter.closed = []byte("backup"), make(chan struct{})
	ctx, stop := context.WithCancel(patient(t))
	go func() {
		for {
			select {
			case <-n.exporter.closed:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer stop()
	rapid.Check(t, func(rt *rapid.T) {
		n.registry.fill(rt)
		prefix := rapid.SampledFrom([]string{"", "a", "a/", "a/b", "shop/", "shop/c", "none"}).Draw(rt, "prefix")
		exact := rapid.SampledFrom(append(slices.Clone(readNames), "none")).Draw(rt, "exact")
		statuses := rapid.SampledFrom([][]Status{nil, {serving}}).Draw(rt, "statuses")
		page := rapid.Int32Range(1, 5).Draw(rt, "page")
		var at *rollcallv1.At
		if rapid.Bool().Draw(rt, "at") {
			at = &rollcallv1.At{At: &rollcallv1.At_Revision{Revision: rapid.Int64Range(0, n.registry.Revision()).Draw(rt, "revision")}}
		}
		anonymous, own := drawGrants(rt, "anonymous"), drawGrants(rt, "own")
		n.access.change(func(r *fakeRights) { r.enforced = false })
		whole := n.readings(ctx, rt, prefix, exact, statuses, at, page)
		n.access.change(func(r *fakeRights) {
			r.enforced, r.anonymous = true, access.New(anonymous...)
			r.grants = map[string]access.Permissions{"token:ci": access.New(own...)}
		})
		for name, caller := range map[string]struct {
			ctx context.Context
			who naive
		}{
			"anonymous": {ctx, naive{true, anonymous}},
			"a token":   {with(ctx, token), naive{false, slices.Concat(anonymous, own)}},
		} {
			got := n.readings(caller.ctx, rt, prefix, exact, statuses, at, page)
			for what, all := range whole {
				want := naiveReading(rt, what, all, caller.who, prefix, exact)
				if !got[what].equal(want) {
					rt.Errorf("%s of %s with %v, of\n%q: got\n%q %s %v, want\n%q %s %v", what, name, caller.who.grants, all.lines, got[what].lines, got[what].reason, got[what].filtered, want.lines, want.reason, want.filtered)
				}
			}
		}
	})
}

// TestADeniedReadTellsNothing: what is said of what a caller may not read is the same whether it exists, and says
// nothing of the registry.
func TestADeniedReadTellsNothing(t *testing.T) {
	n := single(t)
	n.registry.set("secret", serving)
	n.registry.set("shop/cart", serving)
	token := accesstoken.New()
	n.addToken("ci", token, 0)
	n.access.change(func(r *fakeRights) {
		r.enforced = true
		r.grants["token:ci"] = access.New(access.Grant{Verbs: access.Read, Pattern: "shop/*"})
	})
	demanding := metadata.AppendToOutgoingContext(patient(t), "rollcall-min-revision", "1", "rollcall-cluster", "other")
	for who, ctx := range map[string]context.Context{"a token": with(demanding, token), "nobody": demanding} {
		var texts []string
		for _, name := range []string{"secret", "none"} {
			for what, call := range map[string]func(...grpc.CallOption) error{
				"Check": func(o ...grpc.CallOption) error {
					_, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: name}, o...)
					return err
				},
				"Watch": func(o ...grpc.CallOption) error {
					stream, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: name}, o...)
					if err == nil {
						_, err = stream.Recv()
					}
					return err
				},
			} {
				var header metadata.MD
				err := call(grpc.Header(&header))
				for key := range header {
					if strings.HasPrefix(key, "rollcall-") {
						t.Errorf("%s of %s by %s has the header %s", what, name, who, key)
					}
				}
				texts = append(texts, strings.ReplaceAll(status.Convert(err).Message(), name, "NAME"))
				if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unauthenticated {
					t.Errorf("%s of %s by %s: %v", what, name, who, err)
				}
			}
		}
		if len(slices.Compact(texts)) != 1 {
			t.Errorf("%s is told %q", who, texts)
		}
	}
	if counts := n.denials.ByVerb(); counts["read"] != 8 {
		t.Errorf("denials are counted as %v", counts)
	}
}
