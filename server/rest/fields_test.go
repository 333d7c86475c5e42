package rest

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// TestErrorsNameFieldsAsInJSON: a field has one name, in the request and in what is said of it.
func TestErrorsNameFieldsAsInJSON(t *testing.T) {
	for _, tc := range []struct {
		req                  proto.Message
		field, says          string
		wantField, wantsSays string
	}{
		{&rollcallv1.GrantLeaseRequest{}, "ttl", "is required", "ttl_seconds", "ttl_seconds is required"},
		{&rollcallv1.GrantLeaseRequest{}, "forget_after", "is -1s", "forget_after_seconds", "forget_after_seconds is -1s"},
		{&rollcallv1.SetOverrideRequest{}, "ttl", "is -1s", "ttl_seconds", "ttl_seconds is -1s"},
		{&rollcallv1.SetOverrideRequest{}, "reason", "mentions ttl of others", "reason", "reason mentions ttl of others"},
		{&rollcallv1.BatchSetServingStatusRequest{}, "changes[3].status", "is required", "changes[3].status", "changes[3].status is required"},
		{&rollcallv1.ListServicesRequest{}, "at.time", "is no time", "at.time", "at.time is no time"},
		{&rollcallv1.ListServicesRequest{}, "rollcall-cluster", "is another", "rollcall-cluster", "rollcall-cluster is another"},
		{&rollcallv1.ListServicesRequest{}, "prefix.ttl", "is odd", "prefix.ttl", "prefix.ttl is odd"},
		{&rollcallv1.ListServicesRequest{}, "", "is empty", "", " is empty"},
	} {
		err := rpcerror.ToStatus("n1", rpcerror.Invalid(rpcerror.Violation{Field: tc.field, Description: tc.says}).AsNotWritten())
		_, e := errorOf("n1", true, inJSON(err, tc.req.ProtoReflect().Descriptor()))
		fields := e.Details["fields"].([]map[string]string)
		if fields[0]["field"] != tc.wantField || fields[0]["message"] != tc.says || e.Message != tc.wantsSays {
			t.Errorf("%s %s: %s, %v", tc.field, tc.says, e.Message, fields)
		}
		if e.Written != rpcerror.WrittenNo || e.Reason != rpcerror.ReasonInvalidArgument || e.Code != "INVALID_ARGUMENT" {
			t.Errorf("%s %s: %+v", tc.field, tc.says, e)
		}
	}
	other := status.Error(codes.NotFound, "ttl is not there")
	if got := inJSON(other, (&rollcallv1.GrantLeaseRequest{}).ProtoReflect().Descriptor()); !errors.Is(got, other) {
		t.Errorf("another error became %v", got)
	}
}
