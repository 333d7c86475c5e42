package apijson

import (
	"errors"
	"net/url"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func timestamp(s string) *timestamppb.Timestamp {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return timestamppb.New(t)
}

func TestQuerySetsFields(t *testing.T) {
	serving, down := healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING
	for query, want := range map[string]proto.Message{
		"": &rollcallv1.ListServicesRequest{},
		"prefix=shop%2F&page_size=5&statuses=up,NOT_SERVING":             &rollcallv1.ListServicesRequest{Prefix: "shop/", PageSize: 5, Statuses: []healthpb.HealthCheckResponse_ServingStatus{serving, down}},
		"statuses=up&statuses=down":                                      &rollcallv1.ListServicesRequest{Statuses: []healthpb.HealthCheckResponse_ServingStatus{serving, down}},
		"at.revision=0":                                                  &rollcallv1.ListServicesRequest{At: &rollcallv1.At{At: &rollcallv1.At_Revision{}}},
		"at.time=2026-11-22T03:12:00Z":                                   &rollcallv1.GetServiceRequest{At: &rollcallv1.At{At: &rollcallv1.At_Time{Time: timestamp("2026-11-22T03:12:00Z")}}},
		"validate_only=true&if_revision=7&break_glass=a,b&break_glass=c": &rollcallv1.DeleteServiceRequest{ValidateOnly: true, IfRevision: proto.Int64(7), BreakGlass: []string{"a", "b", "c"}},
		"reason=a,%20b":                                                  &rollcallv1.DeleteServiceRequest{Reason: "a, b"},
		"reason=":                                                        &rollcallv1.DeleteServiceRequest{},
		"ttl_seconds=0.5&on_expiry=delete":                               &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(5e8), OnExpiry: healthpb.HealthCheckResponse_SERVICE_UNKNOWN.Enum()},
		"types=member-changed":                                           &rollcallv1.ListEventsRequest{Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED}},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got := want.ProtoReflect().New().Interface()
		if err := Query(values, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: %v, want %v; %v", query, got, want, err)
		}
	}
}

func TestQuerySaysWhatIsWrong(t *testing.T) {
	list, get, del := &rollcallv1.ListServicesRequest{}, &rollcallv1.GetServiceRequest{}, &rollcallv1.DeleteServiceRequest{}
	for _, c := range []struct {
		query string
		m     proto.Message
		want  string
	}{
		{"prefx=a", get, "prefx: there is no such field; there is at.revision, at.time"},
		{"at=5", get, "at: there is no such field; there is at.revision, at.time"},
		{"at.revison=5", get, "at.revison: there is no such field; there is at.revision, at.time"},
		{"a=1", &rollcallv1.ListRulesRequest{}, "a: there is no such field: nothing can be given here"},
		{"prefix=a&prefix=b", list, "prefix: it stands there twice"},
		{"at.revision=5&at.time=2026-11-22T03:12:00Z", list, "at.time: it cannot stand beside revision; send one of them"},
		{"at.revision=x", list, `at.revision: "x" is no whole number; write a whole number from -9223372036854775808 to 9223372036854775807`},
		{"at.revision=", list, `at.revision: "" is no whole number; write a whole number from -9223372036854775808 to 9223372036854775807`},
		{"statuses=up,", list, `statuses: "" is no status; write SERVING (or up), NOT_SERVING (or down), UNKNOWN or SERVICE_UNKNOWN`},
		{"prefix=%ff", list, `prefix: "\xff" is not UTF-8`},
		{"validate_only", del, `validate_only: must be true or false, and not ""`},
		{"validate_only=1", del, `validate_only: must be true or false, and not "1"`},
		{"service=b", del, "service: it stands in the path of the URL; leave it out of the query"},
		{"changes=a", &rollcallv1.BatchSetServingStatusRequest{}, "changes: there is no such field; there is reason, actor, request_id, validate_only, break_glass"},
		{"ttl=5", &rollcallv1.GrantLeaseRequest{}, "ttl: there is no such field; write ttl_seconds, a number of seconds"},
		{"ttl_seconds=5s", &rollcallv1.GrantLeaseRequest{}, `ttl_seconds: "5s" is no number of seconds; write it as 30 or 0.5`},
	} {
		values, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		err = Query(values, proto.Clone(c.m), "service")
		var wrong *Error
		if !errors.As(err, &wrong) || err.Error() != c.want {
			t.Errorf("%s:\n%v\nwant\n%s", c.query, err, c.want)
		}
	}
}

// Every field of a request of a GET or DELETE that is no object can be given.
func TestQueryOfEachRequestTakesItsFields(t *testing.T) {
	for _, m := range everyMessage(t) {
		for i := range m.ProtoReflect().Descriptor().Fields().Len() {
			fd := m.ProtoReflect().Descriptor().Fields().Get(i)
			f := formOf(m.ProtoReflect().Descriptor()).fields[i]
			if f.isObject() {
				continue
			}
			b, err := appendSingle(nil, &f, valueFor(&f))
			if err != nil {
				t.Fatalf("%s: %v", fd.FullName(), err)
			}
			value := string(b)
			if len(value) > 1 && value[0] == '"' {
				value = value[1 : len(value)-1]
			}
			got := m.ProtoReflect().New()
			if err := Query(url.Values{f.json: {value}}, got.Interface()); err != nil || !got.Has(fd) {
				t.Errorf("%s=%s: %v, %v", fd.FullName(), value, got, err)
			}
		}
	}
}
