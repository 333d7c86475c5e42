package apijson

import (
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestSecondsAreExact(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", time.Second: "1", 10 * time.Second: "10", 100 * time.Second: "100", 1: "0.000000001", -time.Millisecond: "-0.001",
		1_929_370_214: "1.929370214", 90 * time.Minute: "5400", -90 * time.Second: "-90", time.Hour*24*365*200 + 1: "6307200000.000000001",
	} {
		b, err := Marshal(Seconds(d))
		if err != nil || string(b) != want {
			t.Errorf("%d: %s, want %s; %v", d, b, want, err)
		}
	}
}

func TestMessagesInJSON(t *testing.T) {
	for want, m := range map[string]Message{
		`{"ready":false,"revision":0,"term":0,"applied_index":0,"lag_entries":0,"leader_age_seconds":0.12,"version":"","error":"","max_level":0,"hold_level":0,"cannot_reach":[]}`:           {&rollcallv1.MemberStatus{LeaderAge: durationpb.New(120 * time.Millisecond)}},
		`{"name":"n1","api_address":"","peer_address":"","voter":false,"replica":false,"directory_id":"","phase_detail":""}`:                                                                 {&rollcallv1.Member{Name: "n1"}},
		`{"revision":1,"commit_revision":1,"type":"member-changed","reason":"","request_id":"","member":{"name":"n1","api_address":"","peer_address":"","replica":false,"directory_id":""}}`: {&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Member: &rollcallv1.Member{Name: "n1"}}},
		`{"registry_bytes":1,"log_bytes":0,"snapshot_bytes":0}`: {&rollcallv1.Storage{RegistryBytes: 1}},
	} {
		b, err := Marshal(m)
		if err != nil || string(b) != want {
			t.Errorf("%s\nwant\n%s; %v", b, want, err)
		}
	}
}

// Counts that nobody made, and layers that nobody asked for, are left out: a zero would look like one.
func TestWhatWasNotAskedForInJSON(t *testing.T) {
	rule := &rollcallv1.Rule{Name: "r", Pattern: "a/*", MinServing: 1, Revision: 5}
	broken := proto.CloneOf(rule)
	broken.Needed, broken.Total = 1, 2
	const begin = `{"name":"r","pattern":"a/*","min_serving":1,"min_percent":0,"enforce_reports":false,"reason":"","revision":5`
	since := timestamppb.New(time.Unix(0, 0))
	for want, m := range map[string]Message{
		`{"rule":` + begin + `},"changed":true,"cluster_id":""}`:                                                                 {&rollcallv1.SetRuleResponse{Rule: rule, Changed: true}},
		`{"rule":` + begin + `,"needed":1,"serving":0,"total":2},"changed":true,"cluster_id":""}`:                                {&rollcallv1.SetRuleResponse{Rule: broken, Changed: true}},
		`{"rules":[` + begin + `,"needed":0,"serving":0,"total":0}],"revision":0,"cluster_id":""}`:                               {&rollcallv1.ListRulesResponse{Rules: []*rollcallv1.Rule{rule}}},
		`{"revision":5,"commit_revision":5,"type":"rule-set","reason":"","request_id":"","pattern":"a/*","rule":` + begin + `}}`: {&rollcallv1.Event{Revision: 5, CommitRevision: 5, Type: rollcallv1.EventType_EVENT_TYPE_RULE_SET, Pattern: "a/*", Rule: rule}},
		`{"service":"a","status":"SERVING","status_time":"1970-01-01T00:00:00Z"}`:                                                {&rollcallv1.ServiceRecord{Service: "a", Status: healthpb.HealthCheckResponse_SERVING, StatusTime: since}},
		`{"service":"a","status":"SERVING","override":{"pattern":"a","status":"SERVING","reason":""},"shadowed":[]}`: {&rollcallv1.ServiceRecord{Service: "a", Status: healthpb.HealthCheckResponse_SERVING,
			Override: &rollcallv1.Override{Pattern: "a", Status: healthpb.HealthCheckResponse_SERVING}}},
	} {
		b, err := Marshal(m)
		if err != nil || string(b) != want {
			t.Errorf("%s\nwant\n%s; %v", b, want, err)
		}
	}
}

// What a lease does not tell is left out: an event of its end, and a record, know less than a list.
func TestLeasesInJSON(t *testing.T) {
	ttl := durationpb.New(10 * time.Second)
	lease := &rollcallv1.Lease{LeaseId: "3f", Ttl: ttl, OnExpiry: healthpb.HealthCheckResponse_NOT_SERVING, Revision: 5}
	left := proto.CloneOf(lease)
	left.TimeLeft = durationpb.New(-time.Second)
	ended := proto.CloneOf(lease)
	ended.EndTime, ended.ServiceCount = timestamppb.New(time.Unix(0, 0)), 2
	const begin = `{"lease_id":"3f","ttl_seconds":10,"on_expiry":"NOT_SERVING","reason":"","revision":5`
	for want, m := range map[string]Message{
		`{"leases":[` + begin + `,"service_count":0}],"revision":0,"cluster_id":""}`:                                                                  {&rollcallv1.ListLeasesResponse{Leases: []*rollcallv1.Lease{lease}}},
		`{"leases":[` + begin + `,"service_count":0,"time_left_seconds":-1,"late":false}],"revision":0,"cluster_id":""}`:                              {&rollcallv1.ListLeasesResponse{Leases: []*rollcallv1.Lease{left}}},
		`{"leases":[` + begin + `,"end_time":"1970-01-01T00:00:00Z","revoked":false,"service_count":2}],"revision":0,"cluster_id":""}`:                {&rollcallv1.ListLeasesResponse{Leases: []*rollcallv1.Lease{ended}}},
		`{"service":"a","status":"UNKNOWN","shadowed":[],"lease":` + begin + `}}`:                                                                     {&rollcallv1.ServiceRecord{Service: "a", Lease: lease}},
		`{"service":"a","status":"UNKNOWN","shadowed":[],"lease":` + begin + `,"end_time":"1970-01-01T00:00:00Z","revoked":false,"service_count":2}}`: {&rollcallv1.ServiceRecord{Service: "a", Lease: ended}},
		`{"revision":1,"commit_revision":1,"type":"lease-granted","reason":"","request_id":"","lease_id":"3f","lease":` + begin + `}}`: {
			&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GRANTED, LeaseId: "3f", Lease: lease}},
		`{"revision":1,"commit_revision":1,"type":"lease-ended","reason":"","request_id":"","lease_id":"3f","matched_count":0,"lease":{"lease_id":"3f"}}`: {
			&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_LEASE_ENDED, LeaseId: "3f", Lease: &rollcallv1.Lease{LeaseId: "3f"}}},
		`{"revision":1,"commit_revision":1,"type":"expired","reason":"","request_id":"","service":"a","previous_status":"UNKNOWN","status":"UNKNOWN","effective_status":"UNKNOWN","lease_id":"3f"}`: {
			&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_EXPIRED, Service: "a", LeaseId: "3f"}},
		`{"revision":1,"commit_revision":1,"type":"reported","reason":"","request_id":"","service":"a","previous_status":"UNKNOWN","status":"UNKNOWN","effective_status":"UNKNOWN","lease_id":"3f","detached":true}`: {
			&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_REPORTED, Service: "a", LeaseId: "3f", Detached: true}},
		`{"revision":1,"commit_revision":1,"type":"lease-guard","reason":"","request_id":"","lease_guard":{"engaged":true,"late":41,"live":52}}`: {
			&rollcallv1.Event{Revision: 1, CommitRevision: 1, Type: rollcallv1.EventType_EVENT_TYPE_LEASE_GUARD, LeaseGuard: &rollcallv1.LeaseGuard{Engaged: true, Late: 41, Live: 52}}},
		`{"lease_id":"","ttl_seconds":10,"cluster_id":""}`:   {&rollcallv1.GrantLeaseResponse{Ttl: ttl}},
		`{"matched_count":0,"ending":false,"cluster_id":""}`: {&rollcallv1.RevokeLeaseResponse{}},
		`{"changed":false,"cluster_id":""}`:                  {&rollcallv1.ReleaseLeaseGuardResponse{}},
	} {
		b, err := Marshal(m)
		if err != nil || string(b) != want {
			t.Errorf("%s\nwant\n%s; %v", b, want, err)
		}
	}
}
