package apijson

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// docs/json.md promises what this file does.

// Append writes m to the end of b, on one line. Fields have the names and the order of the proto. Numbers of 64 bits
// are numbers (protojson writes strings), times are RFC 3339 in UTC. A duration is a number of seconds, and the name
// of its field gets the end "_seconds". Statuses have the names of grpc.health.v1; other enums are written as the
// command line writes them: "member-changed". Scalars and lists are written even if they are empty. Messages and
// optional fields that are absent, enums that say nothing, and what left knows of are left out.
func Append(b []byte, m proto.Message) ([]byte, error) {
	return appendMessage(b, m.ProtoReflect(), nil)
}

// appendMessage writes m, the value of the field of; nil: of none.
func appendMessage(b []byte, m protoreflect.Message, of protoreflect.FieldDescriptor) ([]byte, error) {
	typed := m.Interface()
	switch v := typed.(type) {
	case *timestamppb.Timestamp:
		return appendTime(b, v.AsTime()), nil
	case *durationpb.Duration:
		return appendSeconds(b, v.AsDuration()), nil
	}
	b = append(b, '{')
	first := true
	form := formOf(m.Descriptor())
	for i := range form.fields {
		f := &form.fields[i]
		var v protoreflect.Value
		if f.presence || f.list { // asked first: to get an empty list allocates
			if !m.Has(f.fd) && (f.presence || left(typed, f.name, of)) {
				continue
			}
		} else if v = m.Get(f.fd); f.empty(v) && (f.silent || left(typed, f.name, of)) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.key...)
		var err error
		if b, err = appendField(b, m, f, v); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendField writes a field of m: v, if that was read already.
func appendField(b []byte, m protoreflect.Message, f *field, v protoreflect.Value) ([]byte, error) {
	if !f.list {
		if !v.IsValid() {
			v = m.Get(f.fd)
		}
		return appendSingle(b, f, v)
	}
	if !m.Has(f.fd) {
		return append(b, "[]"...), nil
	}
	b = append(b, '[')
	list := m.Get(f.fd).List()
	for i := range list.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendSingle(b, f, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendSingle(b []byte, f *field, v protoreflect.Value) ([]byte, error) {
	switch f.kind {
	case protoreflect.StringKind:
		return appendText(b, v.String()), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool()), nil
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case protoreflect.EnumKind:
		if name, ok := f.names[v.Enum()]; ok {
			return append(b, name...), nil
		}
		return strconv.AppendInt(b, int64(v.Enum()), 10), nil // of a newer node
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message(), f.fd)
	case protoreflect.BytesKind:
		b = append(b, '"')
		if isHexadecimal(f.fd) {
			b = hex.AppendEncode(b, v.Bytes())
		} else {
			b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		}
		return append(b, '"'), nil
	}
	return nil, fmt.Errorf("field %s: its type has no JSON form here", f.fd.FullName())
}
