package convert

import (
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestAnEventOfAnOverrideSaysNothingOfChecks: what Check answers depends on what else covers a service; after the
// end of an override it is never what that said.
func TestAnEventOfAnOverrideSaysNothingOfChecks(t *testing.T) {
	after, err := (&logv1.Override{Status: logv1.Status_STATUS_SERVING, ExpireTime: 5}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for _, ends := range []bool{false, true} {
		e := Event(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_OVERRIDE_SET, Kind: logv1.Kind_KIND_OVERRIDE, Key: "a/*", After: after, Ends: ends})
		if e.GetPattern() != "a/*" || e.GetStatus() != healthpb.HealthCheckResponse_SERVING || e.GetEffectiveStatus() != 0 || ends != (e.GetExpireTime() == nil) {
			t.Errorf("ends %v: %v", ends, e)
		}
	}
}

func TestAnEventSaysThatTheReportIsDetached(t *testing.T) {
	for _, detached := range []bool{false, true} {
		e := Event(&logv1.Event{Type: logv1.EventType_EVENT_TYPE_REPORTED, Kind: logv1.Kind_KIND_SERVICE, Key: "a", LeaseId: "3f9a", Detached: detached})
		if e.GetLeaseId() != "3f9a" || e.GetDetached() != detached {
			t.Errorf("detached %v: %v", detached, e)
		}
	}
}
