package apijson

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestDecodeReadsWhatAppendWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, empty := range everyMessage(t) {
		for i := range 40 {
			m := proto.Clone(empty)
			if i > 0 {
				fill(r, m.ProtoReflect(), 4)
			}
			b, err := Append(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			got := m.ProtoReflect().New().Interface()
			if err := Decode(b, got); err != nil {
				t.Fatalf("%T: %v\n%s", m, err, b)
			}
			if !proto.Equal(got, m) {
				t.Fatalf("%T: %v\nwant\n%v\n%s", m, got, m, b)
			}
		}
	}
}

func TestDecodeTakesOtherForms(t *testing.T) {
	down, up, gone := healthpb.HealthCheckResponse_NOT_SERVING.Enum(), healthpb.HealthCheckResponse_SERVING.Enum(), healthpb.HealthCheckResponse_SERVICE_UNKNOWN.Enum()
	for in, want := range map[string]proto.Message{
		" {\n\t\"service\" : \"a\" , \"status\":\"down\" }\r\n": &rollcallv1.SetServingStatusRequest{Service: "a", Status: down},
		`{"status":"up"}`:                                      &rollcallv1.SetServingStatusRequest{Status: up},
		`{"status":"Not-Serving"}`:                             &rollcallv1.SetServingStatusRequest{Status: down},
		`{"status":"service_unknown"}`:                         &rollcallv1.StatusChange{Status: gone},
		`{"on_expiry":"delete"}`:                               &rollcallv1.GrantLeaseRequest{OnExpiry: gone},
		`{"status":null,"if_revision":null}`:                   &rollcallv1.SetServingStatusRequest{},
		`{"if_revision":0}`:                                    &rollcallv1.SetServingStatusRequest{IfRevision: proto.Int64(0)},
		`{"if_revision":"9223372036854775807"}`:                &rollcallv1.SetServingStatusRequest{IfRevision: proto.Int64(1<<63 - 1)},
		`{"ttl_seconds":0.5}`:                                  &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(5e8)},
		`{"ttl_seconds":0.30000000000000004}`:                  &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(3e8)},
		`{"ttl_seconds":-1.000000001}`:                         &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(-1e9 - 1)},
		`{"types":["member-changed","REPORTED"]}`:              &rollcallv1.ListEventsRequest{Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED, rollcallv1.EventType_EVENT_TYPE_REPORTED}},
		`{"\u0072eason":"\ud83e\udd8a \u00e4\n","changes":[]}`: &rollcallv1.BatchSetServingStatusRequest{Reason: "🦊 ä\n"},
		`{"secret_sha256":"00FF0a"}`:                           &rollcallv1.CreateTokenRequest{SecretSha256: []byte{0, 255, 10}},
		`{"at":{"time":"2026-11-22T04:12:00+01:00"}}`:          &rollcallv1.GetServiceRequest{At: &rollcallv1.At{At: &rollcallv1.At_Time{Time: timestamp("2026-11-22T03:12:00Z")}}},
	} {
		got := want.ProtoReflect().New().Interface()
		if err := Decode([]byte(in), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: %v, want %v; %v", in, got, want, err)
		}
	}
}

func TestDecodeSaysWhatIsWrongAndWhere(t *testing.T) {
	const statuses = "write SERVING (or up), NOT_SERVING (or down), UNKNOWN or SERVICE_UNKNOWN"
	set, batch, lease, token := &rollcallv1.SetServingStatusRequest{}, &rollcallv1.BatchSetServingStatusRequest{}, &rollcallv1.GrantLeaseRequest{}, &rollcallv1.CreateTokenRequest{}
	for _, c := range []struct {
		in   string
		m    proto.Message
		want string
	}{
		{"", set, "the request is empty; send a JSON object, {} if it needs nothing"},
		{" \n", set, "the request is empty; send a JSON object, {} if it needs nothing"},
		{`{"service":"a"`, set, "the JSON ends too early"},
		{`{"service":"a`, set, "the JSON ends too early"},
		{"{\"service\":\"a\",\n  }", set, "this is no JSON: '}' does not belong at line 2, column 3"},
		{`{"service":"a"}x`, set, "this is no JSON: 'x' does not belong at line 1, column 16"},
		{`{"service":"a"} {}`, set, "this is no JSON: '{' does not belong at line 1, column 17"},
		{`{'service':"a"}`, set, `this is no JSON: '\'' does not belong at line 1, column 2`},
		{"\ufeff{}", set, `this is no JSON: '\ufeff' does not belong at line 1, column 1`},
		{"{\"reason\":\"ä\xff\"}", set, "the JSON is not UTF-8 at line 1, column 13"},
		{`{"reason":"\ud800"}`, set, `\ud800 at line 1, column 12 is half a character`},
		{`{"reason":"\\\udc00\ud800"}`, set, `\udc00 at line 1, column 14 is half a character`},
		{`{"reason":"\ud800\u0041"}`, set, `\ud800 at line 1, column 12 is half a character`},
		{`[]`, set, "the request must be a JSON object, and is a list"},
		{`null`, set, "the request must be a JSON object, and is null"},
		{`"a"`, set, "the request must be a JSON object, and is a text"},
		{`{"stauts":"up"}`, set, "stauts: there is no such field; there is service, status, reason, actor, request_id, if_revision, lease_id, validate_only, break_glass"},
		{`{"a\nb":1}`, &rollcallv1.ListRulesRequest{}, `a\nb: there is no such field: nothing can be given here`},
		{`{"ttl":30}`, lease, "ttl: there is no such field; write ttl_seconds, a number of seconds"},
		{`{"reason":"a","reason":"a"}`, set, "reason: it stands there twice"},
		{`{"reason":"a","\u0072eason":null}`, set, "reason: it stands there twice"},
		{`{"status":"upp"}`, set, `status: "upp" is no status; ` + statuses},
		{`{"status":1}`, set, "status: must be SERVING (or up), NOT_SERVING (or down), UNKNOWN or SERVICE_UNKNOWN, and not a number"},
		{`{"status":"delete"}`, set, `status: "delete" is no status; ` + statuses},
		{`{"on_expiry":"gone"}`, lease, `on_expiry: "gone" is no status; ` + statuses + " (or delete)"},
		{`{"changes":[{"service":"a"},{"service":"b","status":"` + strings.Repeat("é", 100) + `"}]}`, batch, `changes[1].status: "` + strings.Repeat("é", 30) + `…" is no status; ` + statuses},
		{`{"changes":[{},null]}`, batch, "changes[1]: must be an object, and not null"},
		{`{"changes":[7]}`, batch, "changes[0]: must be an object, and not a number"},
		{`{"changes":{}}`, batch, "changes: must be a list, and is an object"},
		{`{"break_glass":["a",["b"]]}`, batch, "break_glass[1]: must be a text, and not a list"},
		{`{"validate_only":"true"}`, set, "validate_only: must be true or false, and not a text"},
		{`{"validate_only":1}`, set, "validate_only: must be true or false, and not a number"},
		{`{"reason":true}`, set, "reason: must be a text, and not true or false"},
		{`{"if_revision":1.0}`, set, `if_revision: "1.0" is no whole number; write a whole number from -9223372036854775808 to 9223372036854775807`},
		{`{"if_revision":1e3}`, set, `if_revision: "1e3" is no whole number; write a whole number from -9223372036854775808 to 9223372036854775807`},
		{`{"if_revision":9223372036854775808}`, set, "if_revision: 9223372036854775808 is too large or too small; write a whole number from -9223372036854775808 to 9223372036854775807"},
		{`{"page_size":2147483648}`, &rollcallv1.ListServicesRequest{}, "page_size: 2147483648 is too large or too small; write a whole number from -2147483648 to 2147483647"},
		{`{"page_size":"5"}`, &rollcallv1.ListServicesRequest{}, "page_size: must be a whole number from -2147483648 to 2147483647, and not a text"},
		{`{"ttl_seconds":"30s"}`, lease, "ttl_seconds: must be a number of seconds as 30 or 0.5, and not a text"},
		{`{"ttl_seconds":1e3}`, lease, `ttl_seconds: "1e3" is no number of seconds; write it as 30 or 0.5`},
		{`{"ttl_seconds":9223372037}`, lease, `ttl_seconds: "9223372037" is too long: a duration is at most 9223372036 seconds`},
		{`{"at":{"revision":1,"time":"2026-11-22T03:12:00Z"}}`, &rollcallv1.GetServiceRequest{}, "at.time: it cannot stand beside revision; send one of them"},
		{`{"at":{"time":"2026-11-22 03:12"}}`, &rollcallv1.GetServiceRequest{}, `at.time: "2026-11-22 03:12" is no time; write RFC 3339, as "2026-11-22T03:12:00Z"`},
		{`{"at":"now"}`, &rollcallv1.GetServiceRequest{}, "at: must be an object, and not a text"},
		{`{"types":["member"]}`, &rollcallv1.SetServingStatusRequest{}, "types: there is no such field; there is service, status, reason, actor, request_id, if_revision, lease_id, validate_only, break_glass"},
		{`{"grants":[{"role":"a","patterns":"*"}]}`, token, "grants[0].patterns: must be a list, and is a text"},
		{`{"secret_sha256":"rct_1_2"}`, token, "secret_sha256: must be the bytes in hexadecimal, two digits for each"},
		{`{"secret_sha256":[1]}`, token, "secret_sha256: must be the bytes in hexadecimal, two digits for each, and not a list"},
	} {
		err := Decode([]byte(c.in), proto.Clone(c.m))
		var wrong *Error
		if !errors.As(err, &wrong) || err.Error() != c.want {
			t.Errorf("%s:\n%v\nwant\n%s", c.in, err, c.want)
		}
	}
	err := Decode([]byte(`{"types":["member"]}`), &rollcallv1.ListEventsRequest{})
	if err == nil || !strings.HasPrefix(err.Error(), `types[0]: there is no "member"; write reported, deleted, expired, `) || strings.Contains(err.Error(), unspecified) {
		t.Errorf("an unknown type of event: %v", err)
	}
}

// What the path of a URL says stands in no body.
func TestDecodeRefusesWhatIsKnownAlready(t *testing.T) {
	m := &rollcallv1.SetServingStatusRequest{Service: "a"}
	if err := Decode([]byte(`{"status":"up"}`), m, "service"); err != nil || m.GetService() != "a" || m.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v; %v", m, err)
	}
	err := Decode([]byte(`{"service":"b"}`), m, "service")
	if want := "service: it stands in the path of the URL; leave it out of the body"; err == nil || err.Error() != want || m.GetService() != "a" {
		t.Errorf("%v; %v, want %s", m, err, want)
	}
	if err := Decode([]byte(`{"changes":[{"service":"b"}]}`), &rollcallv1.BatchSetServingStatusRequest{}, "service"); err != nil {
		t.Errorf("a field of the same name further down: %v", err)
	}
	if err := Decode([]byte(`{"x":1}`), m, "service"); err == nil || strings.Contains(err.Error(), "service,") {
		t.Errorf("an unknown field: %v", err)
	}
}

// FuzzDecode reads anything into the requests: what is taken is written and read again as the same.
func FuzzDecode(f *testing.F) {
	requests := slices.DeleteFunc(everyMessage(f), func(m proto.Message) bool {
		return !strings.HasSuffix(string(m.ProtoReflect().Descriptor().Name()), "Request")
	})
	r := rand.New(rand.NewPCG(5, 6))
	for i, m := range requests {
		m = proto.Clone(m)
		fill(r, m.ProtoReflect(), 4)
		f.Add(reference(m), uint8(i))
	}
	f.Add([]byte("{\"reason\":\"\\ud83e\\udd8a\xff\",\"ttl_seconds\":1e99999}"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		m := requests[int(which)%len(requests)].ProtoReflect().New().Interface()
		if err := Decode(data, m); err != nil {
			if err.Error() == "" || len(err.Error()) > 2000 {
				t.Fatalf("an error of %d bytes: %v", len(err.Error()), err)
			}
			return
		}
		b, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		again := m.ProtoReflect().New().Interface()
		if err := Decode(b, again); err != nil || !proto.Equal(m, again) {
			t.Fatalf("%s\nis %v\nwritten as %s\nand read as %v; %v", data, m, b, again, err)
		}
	})
}
