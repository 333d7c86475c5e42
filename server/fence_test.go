package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestP9DivergedNodeServesNothing but its own names and its status.
func TestP9DivergedNodeServesNothing(t *testing.T) {
	synctest.Test(t, divergedNodeServesNothing)
}

func divergedNodeServesNothing(t *testing.T) {
	c := newTestCluster(t, 2)
	c.elect("n1")
	n := c.nodes["n1"]
	ctx := timeout(t, 10*time.Second)
	n.registry.set("payments", serving)
	watch := func(name string) healthpb.Health_WatchClient {
		t.Helper()
		w, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: name})
		if err == nil {
			_, err = w.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	service, own := watch("payments"), watch(rollcallv1.OwnReads)

	n.agreement.change(func(st *NodeStatus) { st.Failed = "its registry is not what the majority holds at log entry 42" })
	n.Diverged(42)
	n.Diverged(43)

	refused := func(what string, err error, written string) {
		t.Helper()
		info := rpcerror.InfoOf(status.Convert(err))
		if status.Code(err) != codes.Unavailable || info.GetReason() != rpcerror.ReasonDiverged || info.GetMetadata()[rpcerror.MetaIndex] != "42" ||
			info.GetMetadata()[rpcerror.MetaWritten] != written {
			t.Errorf("%s: %v with %v", what, err, info)
		}
	}
	_, err := service.Recv()
	refused("an open watch", err, "")
	late, err := n.health().Watch(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
	if err == nil {
		_, err = late.Recv()
	}
	refused("a new watch", err, "")
	_, err = n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
	refused("Check", err, "")
	_, err = n.health().List(ctx, &healthpb.HealthListRequest{})
	refused("List", err, "")
	_, err = n.reads().GetService(ctx, &rollcallv1.GetServiceRequest{Service: "payments"})
	refused("GetService", err, "")
	_, err = n.reads().ListServices(ctx, &rollcallv1.ListServicesRequest{})
	refused("ListServices", err, "")
	_, err = n.reads().ListOverrides(ctx, &rollcallv1.ListOverridesRequest{})
	refused("ListOverrides", err, "")
	_, err = n.reads().ListRules(ctx, &rollcallv1.ListRulesRequest{})
	refused("ListRules", err, "")
	_, err = n.admin().SetServingStatus(ctx, setRequest("payments", notServing))
	refused("SetServingStatus", err, rpcerror.WrittenNo)
	_, err = n.admin().BatchSetServingStatus(ctx, &rollcallv1.BatchSetServingStatusRequest{
		Changes: []*rollcallv1.StatusChange{{Service: "payments", Status: notServing.Enum()}}})
	refused("BatchSetServingStatus", err, rpcerror.WrittenNo)
	_, err = n.admin().DeleteService(ctx, &rollcallv1.DeleteServiceRequest{Service: "payments"})
	refused("DeleteService", err, rpcerror.WrittenNo)
	_, err = n.admin().SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "*", Status: notServing.Enum()})
	refused("SetOverride", err, rpcerror.WrittenNo)
	_, err = n.admin().ClearOverride(ctx, &rollcallv1.ClearOverrideRequest{Pattern: "*"})
	refused("ClearOverride", err, rpcerror.WrittenNo)
	_, err = n.admin().SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "r", Pattern: "*", MinServing: ptr(int64(1))})
	refused("SetRule", err, rpcerror.WrittenNo)
	_, err = n.admin().RemoveRule(ctx, &rollcallv1.RemoveRuleRequest{Name: "r"})
	refused("RemoveRule", err, rpcerror.WrittenNo)
	_, err = n.admin().GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)})
	refused("GrantLease", err, rpcerror.WrittenNo)
	_, err = n.admin().RevokeLease(ctx, &rollcallv1.RevokeLeaseRequest{LeaseId: "a"})
	refused("RevokeLease", err, rpcerror.WrittenNo)
	_, err = n.admin().ReleaseLeaseGuard(ctx, &rollcallv1.ReleaseLeaseGuardRequest{})
	refused("ReleaseLeaseGuard", err, rpcerror.WrittenNo)
	_, err = openKeepAlive(t, ctx, n).Recv()
	refused("KeepAlive", err, "")
	_, err = n.reads().ListLeases(ctx, &rollcallv1.ListLeasesRequest{})
	refused("ListLeases", err, "")

	// Forwarded to it, a change is surely not written and tried again.
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err = c.nodes["n2"].admin().SetServingStatus(short, setRequest("payments", notServing))
	if info := rpcerror.InfoOf(status.Convert(err)); info.GetReason() != rpcerror.ReasonNotWritten {
		t.Errorf("a change through another node: %v", err)
	}
	if n.agreement.count() != 0 {
		t.Error("something was proposed")
	}

	if res, err := own.Recv(); err != nil || res.GetStatus() != notServing {
		t.Errorf("a watch of rollcall.reads: %v, %v", res, err)
	}
	for name, want := range map[string]Status{
		rollcallv1.OwnLive: serving, rollcallv1.OwnReads: notServing, rollcallv1.OwnReady: notServing, rollcallv1.OwnLeader: notServing,
	} {
		if res, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: name}); err != nil || res.GetStatus() != want {
			t.Errorf("%q: %v, %v", name, res, err)
		}
	}
	res, err := n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{LocalOnly: true})
	if err != nil || res.GetWritable() || res.GetMembers()[0].GetError() == "" || len(res.GetProblems()) == 0 {
		t.Errorf("GetStatus: %v, %v", res, err)
	}
}

// closingRegistry has something happen while a read waits.
type closingRegistry struct {
	*fakeRegistry
	meanwhile func()
}

func (r closingRegistry) WaitRevision(context.Context, int64) error {
	r.meanwhile()
	return nil
}

// TestP9ReadThatWaited is refused too if the gate closed while it did, whatever it then could read.
func TestP9ReadThatWaited(t *testing.T) {
	for name, read := range map[string]func(context.Context, *registryService, *health) error{
		"GetService": func(ctx context.Context, s *registryService, _ *health) error {
			_, err := s.GetService(ctx, &rollcallv1.GetServiceRequest{Service: "payments"})
			return err
		},
		"ListServices": func(ctx context.Context, s *registryService, _ *health) error {
			_, err := s.ListServices(ctx, &rollcallv1.ListServicesRequest{})
			return err
		},
		"List": func(ctx context.Context, _ *registryService, h *health) error {
			_, err := h.List(ctx, &healthpb.HealthListRequest{})
			return err
		},
		"Check": func(ctx context.Context, _ *registryService, h *health) error {
			_, err := h.Check(ctx, &healthpb.HealthCheckRequest{Service: "payments"})
			return err
		},
	} {
		n := single(t)
		n.registry.set("payments", serving)
		closing := closingRegistry{n.registry, func() { n.Diverged(42) }}
		r := readsOf(freshness.Reads{
			Node: "n1", Registry: closing, Tracker: n.freshness, Fence: n.fence, Incoming: freshness.NewIncoming(),
			Timeout: time.Second, Ending: t.Context(),
		}, &n.access)
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(freshness.MetadataMinRevision, "99"))
		err := read(ctx, &registryService{reads: r, log: slog.New(slog.DiscardHandler)}, newHealth(r, n.registry, 10))
		if info := rpcerror.InfoOf(status.Convert(err)); info.GetReason() != rpcerror.ReasonDiverged {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestP9Alarm is told by status and stops nothing.
func TestP9Alarm(t *testing.T) {
	n := single(t)
	n.registry.set("payments", serving)
	n.agreement.change(func(st *NodeStatus) { st.Alarm = "replicas differ" })
	ctx := patient(t)
	res, err := n.cluster().GetStatus(ctx, &rollcallv1.GetStatusRequest{})
	if err != nil || !res.GetWritable() || !res.GetMembers()[0].GetReady() || !slices.Equal(res.GetProblems(), []string{"n1: replicas differ"}) {
		t.Errorf("GetStatus: %v, %v", res, err)
	}
	if _, err := n.health().Check(ctx, &healthpb.HealthCheckRequest{Service: "payments"}); err != nil {
		t.Errorf("Check: %v", err)
	}
}

type fakeReplica struct {
	mu        sync.Mutex
	hashes    map[uint64]*logv1.StateHash
	suspected []uint64
}

func (r *fakeReplica) HashAt(index uint64) *logv1.StateHash {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hashes[index]
}

// Held is the hash of the greatest index.
func (r *fakeReplica) Held() (newest *logv1.StateHash, revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for index, hash := range r.hashes {
		if index > newest.GetIndex() {
			newest = hash
		}
	}
	return newest, int64(newest.GetIndex())
}

func (r *fakeReplica) Suspect(index uint64, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspected = append(r.suspected, index)
}

// TestP9AskHash: a member tells what it knows, and becomes suspicious only of what can be compared.
func TestP9AskHash(t *testing.T) {
	at := func(index uint64, version uint32, hash string) *logv1.StateHash {
		return &logv1.StateHash{Version: version, Index: index, Hash: []byte(hash)}
	}
	c := newTestCluster(t, 2)
	r := &c.nodes["n2"].replica
	r.mu.Lock()
	r.hashes = map[uint64]*logv1.StateHash{7: at(7, 1, "seven"), 8: at(8, 1, "eight")}
	r.mu.Unlock()
	ctx := patient(t)
	for _, tt := range []struct {
		name  string
		index uint64
		own   *logv1.StateHash
		want  string // "": not known
	}{
		{"not known", 9, at(9, 1, "nine"), ""},
		{"the same", 7, at(7, 1, "seven"), "seven"},
		{"another", 7, at(7, 1, "other"), "seven"},
		{"of another version", 8, at(8, 2, "other"), "eight"},
		{"of another index", 8, at(7, 1, "other"), "eight"},
		{"the asker does not say", 8, nil, "eight"},
	} {
		got, err := c.nodes["n1"].AskHash(ctx, "n2", tt.index, tt.own)
		if err != nil || string(got.GetHash()) != tt.want || (got != nil && (got.Index != tt.index || got.Version != 1)) {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.suspected, []uint64{7}) {
		t.Errorf("suspected: %v, want only 7", r.suspected)
	}
}
