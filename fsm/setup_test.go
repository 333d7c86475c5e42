package fsm

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	unknown    = logv1.Status_STATUS_UNKNOWN
	serving    = logv1.Status_STATUS_SERVING
	notServing = logv1.Status_STATUS_NOT_SERVING
	gone       = logv1.Status_STATUS_SERVICE_UNKNOWN

	isServing    = healthpb.HealthCheckResponse_SERVING
	isNotServing = healthpb.HealthCheckResponse_NOT_SERVING
)

// harness is an FSM with its registry file, fed like raft feeds one.
type harness struct {
	*FSM
	registryFile *memRegistryFile
	index        uint64
	failures     []error
}

func newHarness(t testing.TB) *harness { return harnessOn(t, newMemRegistryFile()) }

func harnessOn(t testing.TB, j *memRegistryFile) *harness {
	t.Helper()
	return harnessWith(t, Config{RegistryFile: j})
}

func harnessWith(t testing.TB, cfg Config) *harness {
	t.Helper()
	h := &harness{registryFile: cfg.RegistryFile.(*memRegistryFile)}
	cfg.OnFailure = func(err error) { h.failures = append(h.failures, err) }
	f, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	h.FSM, h.index = f, f.AppliedIndex()
	t.Cleanup(func() { f.Close() })
	return h
}

// do applies one entry with the given commands at time, and returns their results.
func (h *harness) do(t testing.TB, time int64, cmds ...*logv1.Command) []*logv1.Result {
	t.Helper()
	h.index++
	return results(t, h.Apply(logOf(t, h.index, 1, &logv1.Entry{Time: time, Commands: cmds})))
}

// set applies one change without a reason.
func (h *harness) set(t testing.TB, name string, st logv1.Status) *logv1.Result {
	t.Helper()
	return h.do(t, 0, write(change(name, st)))[0]
}

func results(t testing.TB, answer any) []*logv1.Result {
	t.Helper()
	list, ok := answer.([]any)
	if !ok {
		t.Fatalf("answer is %T (%v), want []any", answer, answer)
	}
	var rs []*logv1.Result
	for _, a := range list {
		rs = append(rs, a.(*Result).Proto())
	}
	return rs
}

func logOf(t testing.TB, index, term uint64, e *logv1.Entry) *raft.Log {
	t.Helper()
	data, err := logv1.Seal(e)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}
}

func change(name string, st logv1.Status) *logv1.Change {
	return &logv1.Change{Service: name, Status: st}
}

func changeIf(name string, st logv1.Status, revision int64) *logv1.Change {
	return &logv1.Change{Service: name, Status: st, IfRevision: proto.Int64(revision)}
}

func write(changes ...*logv1.Change) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: changes}}}
}

func writeFor(reason string, changes ...*logv1.Change) *logv1.Command {
	c := write(changes...)
	c.Reason = reason
	c.Actor = &logv1.Actor{Name: "ann", Peer: "10.0.0.1:99"}
	c.RequestId = "id-of-" + reason
	return c
}

func announce(m *logv1.Member) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_AnnounceMember{AnnounceMember: &logv1.AnnounceMember{Member: m}}}
}

func termStart(cluster string) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_TermStart{TermStart: &logv1.TermStart{Term: 1, Leader: "n1", ClusterId: cluster}}}
}

func compact(horizon int64) *logv1.Command {
	return &logv1.Command{Kind: &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: horizon}}}
}

// termStartWith brings limits of request ids.
func termStartWith(ids uint32, window int64) *logv1.Command {
	c := termStart("c1")
	c.GetTermStart().RequestIds, c.GetTermStart().RequestWindow = ids, window
	return c
}

// withID is a write of its own with a request id.
func withID(id string, changes ...*logv1.Change) *logv1.Command {
	c := write(changes...)
	c.RequestId = id
	c.Actor = &logv1.Actor{Name: "ann", Peer: "10.0.0.1:99"}
	return c
}

// dump is a canonical text of all that is replicated, from the view and the published map.
func (h *harness) dump() string {
	var b strings.Builder
	v := h.view.Load()
	fmt.Fprintf(&b, "index %d revision %d time %d horizon %d level %d cluster %q shown %d\n",
		v.index, v.revision, v.logTime, v.horizon, v.level, v.clusterID, h.ShownRevision())
	n := 0
	v.services.Scan(func(r *record) bool {
		n++
		fmt.Fprintf(&b, "%x\n", marshal(r.log(&actorLog{})))
		if s, ok := h.published.Get(r.name); !ok || s != r.status {
			fmt.Fprintf(&b, "%q is published otherwise\n", r.name)
		}
		return true
	})
	h.published.Each(func(name string, _ servingStatus) {
		if !rollcallv1.IsOwn(name) {
			n--
		}
	})
	if n != 0 {
		fmt.Fprintf(&b, "%d more services in the view than published\n", n)
	}
	for _, name := range layeredNames {
		if r := v.get(name); r != nil {
			fmt.Fprintf(&b, "%x\n", marshal(v.public(r)))
			if s, ok := h.Status(name); !ok || s != v.shown(r) {
				fmt.Fprintf(&b, "Check of %q says %v, %v\n", name, s, ok)
			}
		}
	}
	list, _ := h.ListRules()
	fmt.Fprintf(&b, "rules %q\n", list)
	fmt.Fprintf(&b, "members as of %d\n", h.MembersRevision())
	if what, err := v.derivedDiffers(func() error { return nil }); what != "" || err != nil {
		fmt.Fprintln(&b, what, err)
	}
	for _, t := range v.tables {
		t.records.Scan(func(key string, r Value) bool {
			fmt.Fprintf(&b, "%s %q %x\n", t.kind.Name, key, appendValue(nil, r))
			return true
		})
	}
	t := h.state.requests
	fmt.Fprintf(&b, "request ids %+v, cost %d\n", t.limits, t.cost)
	if len(t.known) != len(t.order) || v.requestIDs != len(t.order) {
		fmt.Fprintf(&b, "%d known, %d in order, %d shown\n", len(t.known), len(t.order), v.requestIDs)
	}
	for _, r := range t.order {
		fmt.Fprintf(&b, "%v %x\n", r.place, r.encoded)
		if t.known[r.key()] != r {
			fmt.Fprintf(&b, "%v is known otherwise\n", r.key())
		}
	}
	return b.String()
}

func (h *harness) snapshot(t testing.TB) io.ReadCloser {
	t.Helper()
	s, err := h.Snapshot()
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return s.(*memSnapshot).stream()
}
