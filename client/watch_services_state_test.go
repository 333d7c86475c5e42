package client

import (
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestStatesOfAServiceDiffer by everything that can change without a new report: else a watch of services would
// not give it, and would say that what it gave is the registry.
func TestStatesOfAServiceDiffer(t *testing.T) {
	record := func(change func(*rollcallv1.ServiceRecord)) *rollcallv1.ServiceRecord {
		r := &rollcallv1.ServiceRecord{
			Service: "a", Status: healthpb.HealthCheckResponse_SERVING, StatusTime: &timestamppb.Timestamp{Seconds: 5},
			Report:   &rollcallv1.Report{Status: healthpb.HealthCheckResponse_SERVING, Revision: 3},
			Override: &rollcallv1.Override{Pattern: "a", Revision: 9}, Shadowed: []*rollcallv1.Override{{Pattern: "*", Revision: 4}},
		}
		change(r)
		return r
	}
	same := stateOf(record(func(*rollcallv1.ServiceRecord) {}))
	if stateOf(record(func(*rollcallv1.ServiceRecord) {})) != same {
		t.Error("one state is not itself")
	}
	earlier := record(func(r *rollcallv1.ServiceRecord) { r.StatusTime.Seconds-- })
	if s := stateOf(earlier); !s.forgets(same) || same.forgets(s) || same.forgets(same) {
		t.Error("an earlier time is not what a node that forgot an override shows, or a later one is")
	}
	for what, change := range map[string]func(*rollcallv1.ServiceRecord){
		"the report":                        func(r *rollcallv1.ServiceRecord) { r.Report.Revision++ },
		"the status":                        func(r *rollcallv1.ServiceRecord) { r.Status = healthpb.HealthCheckResponse_UNKNOWN },
		"an override that came and went":    func(r *rollcallv1.ServiceRecord) { r.StatusTime.Nanos++ },
		"the override":                      func(r *rollcallv1.ServiceRecord) { r.Override.Revision++ },
		"the override ends":                 func(r *rollcallv1.ServiceRecord) { r.Override, r.Shadowed = r.Shadowed[0], nil },
		"the one beneath":                   func(r *rollcallv1.ServiceRecord) { r.Shadowed[0].Revision++ },
		"the one beneath ends":              func(r *rollcallv1.ServiceRecord) { r.Shadowed = nil },
		"no override covers it any more":    func(r *rollcallv1.ServiceRecord) { r.Override, r.Shadowed = nil, nil },
		"another override comes beneath it": func(r *rollcallv1.ServiceRecord) { r.Shadowed = append(r.Shadowed, &rollcallv1.Override{Revision: 2}) },
	} {
		if stateOf(record(change)) == same {
			t.Errorf("%s changes nothing", what)
		}
		r := record(change)
		if r.StatusTime.Seconds = 4; what != "an override that came and went" && stateOf(r).forgets(same) {
			t.Errorf("%s, with an earlier time, is taken for nothing", what)
		}
	}
}
