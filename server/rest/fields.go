package rest

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
)

// inJSON returns the error of a call with the names that the fields of its request have in JSON. The handlers know those
// of the protos alone, and whoever is told that "ttl" is missing, and sends it, is told that there is no such field.
func inJSON(err error, d protoreflect.MessageDescriptor) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.InvalidArgument {
		return err
	}
	p := s.Proto() // a copy
	renamed := false
	for i, detail := range p.GetDetails() {
		bad := &errdetails.BadRequest{}
		if detail.UnmarshalTo(bad) != nil {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			name := pathInJSON(v.GetField(), d)
			if name == v.GetField() {
				continue
			}
			if rest, first := strings.CutPrefix(p.GetMessage(), v.GetField()+" "); first {
				p.Message = name + " " + rest
			}
			v.Field, renamed = name, true
		}
		if packed, failed := anypb.New(bad); failed == nil {
			p.Details[i] = packed
		}
	}
	if !renamed {
		return err
	}
	return status.FromProto(p).Err()
}

// pathInJSON is the path of a field, as "at.time" or "changes[3].status", with names of JSON. What is no path of a field
// of the message is left as it is.
func pathInJSON(path string, d protoreflect.MessageDescriptor) string {
	parts := strings.Split(path, ".")
	for i, part := range parts {
		name := part
		if at := strings.IndexByte(part, '['); at >= 0 {
			name = part[:at]
		}
		if d == nil {
			return path
		}
		fd := d.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			return path
		}
		parts[i] = apijson.FieldName(fd) + part[len(name):]
		d = fd.Message()
	}
	return strings.Join(parts, ".")
}
