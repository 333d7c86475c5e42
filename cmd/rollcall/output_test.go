package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// clock is three minutes and some after what the records below say.
func clock() time.Time { return reported.Add(3*time.Minute + 20*time.Second) }

func record(name string, s healthpb.HealthCheckResponse_ServingStatus, reason, actor string) *rollcallv1.ServiceRecord {
	return &rollcallv1.ServiceRecord{
		Service: name, Status: s, StatusTime: timestamppb.New(reported),
		Report: &rollcallv1.Report{
			Status: s, Reason: reason, Actor: &rollcallv1.Actor{Name: actor, Peer: "127.0.0.1:4711"},
			Time: timestamppb.New(reported.Add(1500 * time.Millisecond)), Revision: 1 << 60,
		},
	}
}

// sampleStatus is the picture in the design: one of three nodes is gone.
func sampleStatus() *rollcallv1.GetStatusResponse {
	member := func(name, api string) *rollcallv1.Member {
		return &rollcallv1.Member{Name: name, ApiAddress: api, PeerAddress: "127.0.0.1:1", Voter: true}
	}
	return &rollcallv1.GetStatusResponse{
		ClusterId: "3f9ac2d18e6b4f05", Node: "n1", Leader: "n2", Term: 7, Revision: 42, Writable: true, Level: 1,
		Members: []*rollcallv1.MemberStatus{
			{Member: member("n1", "127.0.0.1:7600"), Role: rollcallv1.Role_ROLE_FOLLOWER, Ready: true, Revision: 42, Version: "v0.1.0", MaxLevel: 1,
				LeaderAge: durationpb.New(120 * time.Millisecond), StartTime: timestamppb.New(reported)},
			{Member: member("n2", "127.0.0.1:7610"), Role: rollcallv1.Role_ROLE_LEADER, Ready: true, Revision: 42, Version: "v0.1.0", MaxLevel: 1,
				StartTime: timestamppb.New(reported), Storage: &rollcallv1.Storage{RegistryBytes: 33 << 20, LogBytes: 1_300_000, SnapshotBytes: 900, FreeBytes: proto.Int64(41 << 30)}},
			{Member: member("n3", "127.0.0.1:7620"), Error: "connection refused"},
		},
		Problems: []string{"n3: connection refused for 41s; one more failure stops writes"},
	}
}

func TestTables(t *testing.T) {
	for _, test := range []struct {
		file  string
		write func(a *app) error
	}{
		{"status.txt", func(a *app) error { return a.printStatus(sampleStatus()) }},
		{"status_upgrade.txt", func(a *app) error {
			s := sampleStatus()
			s.Members[1].Version, s.Members[1].MaxLevel = "v0.2.0", 2
			s.LevelHeld = "level 2 waits: n1 runs v0.1.0, which can fold level 1 at most"
			return a.printStatus(s)
		}},
		{"status_wide.txt", func(a *app) error {
			a.output = formatWide
			s := sampleStatus()
			s.Members[0].CertificateExpires = timestamppb.New(reported.Add(90 * 24 * time.Hour))
			s.Members[1].CertificateExpires = timestamppb.New(reported.Add(-time.Hour))
			return a.printStatus(s)
		}},
		{"status_none.txt", func(a *app) error {
			return a.printStatus(&rollcallv1.GetStatusResponse{Node: "n1", Members: []*rollcallv1.MemberStatus{{Member: &rollcallv1.Member{Name: "n1"}, Role: rollcallv1.Role_ROLE_CANDIDATE, StartTime: timestamppb.New(reported)}}})
		}},
		{"get.txt", func(a *app) error {
			return a.writeRecord(record("shop/cart", notServing, "draining for 1.4.3", "alice@laptop"), nil)
		}},
		{"list.txt", func(a *app) error {
			return a.writeList(&listed{records: []*rollcallv1.ServiceRecord{
				record("pay", serving, "", "bob"),
				record("shop/cart", notServing, "a\ttab and a\nline", "alice@laptop"),
			}}, &listFlags{})
		}},
		{"watch.txt", func(a *app) error {
			for _, u := range []client.Update{
				{Service: "pay", Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN, Revision: 3},
				{Service: "pay", Status: serving, Record: record("pay", serving, "", "bob"), Revision: 4},
				{Service: "", Status: notServing, Endpoint: "127.0.0.1:7600"},
			} {
				change := updateChange{time: changeTime(u.Record)}
				if u.Service == "" {
					change.time = a.now()
				}
				if err := a.printUpdate(u, change); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(test.file, func(t *testing.T) {
			var out bytes.Buffer
			if err := test.write(testApp(&out)); err != nil {
				t.Fatal(err)
			}
			golden(t, test.file, out.Bytes())
		})
	}
}

func TestJSON(t *testing.T) {
	for _, test := range []struct {
		file string
		m    proto.Message
	}{
		{"status.json", sampleStatus()},
		{"set.json", &rollcallv1.SetServingStatusResponse{Service: record(`<a>&"b"`, unknown, "", "bob"), Changed: true, Revision: 1 << 60}},
		{"get_unreported.json", &rollcallv1.GetServiceResponse{Service: &rollcallv1.ServiceRecord{Service: "a"}}},
		{"request_optional.json", &rollcallv1.SetServingStatusRequest{Service: "a", Status: unknown.Enum(), IfRevision: proto.Int64(0)}},
		{"newer_enum.json", &rollcallv1.ServiceRecord{Service: "a", Status: 77}},
	} {
		t.Run(test.file, func(t *testing.T) {
			var out bytes.Buffer
			if err := testJSON(&out).printMessage(test.m, nil, nil); err != nil {
				t.Fatal(err)
			}
			if !json.Valid(out.Bytes()) {
				t.Errorf("not valid: %s", out.Bytes())
			}
			golden(t, test.file, out.Bytes())
		})
	}
}

// A new kind of field in the API must not reach programs as an error.
func TestEveryFieldOfTheAPIHasAJSONForm(t *testing.T) {
	messages := rollcallv1.File_rollcall_v1_rollcall_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if fd := fields.Get(j); fd.IsMap() || fd.Kind() == protoreflect.GroupKind {
				t.Errorf("%s has no JSON form in format/json.go", fd.FullName())
			}
		}
	}
}

func TestStatusWaitsForAllMembers(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.setStatus(sampleStatus())
		r := run("status", "--wait", "300ms")
		if r.code != exitNotAsAsked || r.stderr != "rollcall: the cluster is not ready after 300ms: n3 not ready\n" || !strings.HasPrefix(r.stdout, "cluster 3f9a · leader n2 (term 7)") {
			t.Errorf("exit status %d, stdout:\n%s\nstderr:\n%s", r.code, r.stdout, r.stderr)
		}
		waiting := make(chan result, 1)
		go func() { waiting <- run("status", "--wait", "30s") }()
		whole := sampleStatus()
		whole.Members[2].Ready = true
		f.setStatus(whole)
		if r := <-waiting; r.code != 0 || r.stderr != "" {
			t.Errorf("exit status %d, stderr:\n%s", r.code, r.stderr)
		}
	})
}

// A member that can fold less, is held down or is not known keeps the level where it is, and nobody waits for it.
func TestReadyDoesNotWaitForALevelThatDoesNotCome(t *testing.T) {
	for what, change := range map[string]func(m []*rollcallv1.MemberStatus){
		"a member that can fold less": func(m []*rollcallv1.MemberStatus) { m[0].MaxLevel = 2 },
		"a member that holds it":      func(m []*rollcallv1.MemberStatus) { m[0].MaxLevel, m[1].MaxLevel, m[1].HoldLevel = 2, 2, 1 },
		"a member that is not known":  func(m []*rollcallv1.MemberStatus) { m[0].MaxLevel, m[1].MaxLevel = 0, 2 },
	} {
		s := sampleStatus()
		s.Members = s.Members[:2]
		if change(s.Members); unready(s) != "" {
			t.Errorf("%s: %s", what, unready(s))
		}
	}
}

func TestUnreadyNamesTheFirstObstacle(t *testing.T) {
	for want, change := range map[string]func(*rollcallv1.GetStatusResponse){
		"there is no leader": func(s *rollcallv1.GetStatusResponse) { s.Leader = "" },
		"it takes no writes": func(s *rollcallv1.GetStatusResponse) { s.Writable = false },
		"n3 not ready":       func(*rollcallv1.GetStatusResponse) {},
		"":                   func(s *rollcallv1.GetStatusResponse) { s.Members = s.Members[:2] },
		"its feature level is about to rise to 2": func(s *rollcallv1.GetStatusResponse) {
			s.Members = s.Members[:2]
			s.Members[0].MaxLevel, s.Members[1].MaxLevel, s.Members[1].HoldLevel = 2, 3, 2
		},
	} {
		s := sampleStatus()
		change(s)
		if got := unready(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
