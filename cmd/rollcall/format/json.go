package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Message returns the JSON form of m for programs. Fields have the proto's names and order. 64-bit
// integers are numbers (protojson writes strings), times are RFC 3339 in UTC, durations are seconds with
// an "s", enums are names. Scalars and lists are written even if empty; absent messages and optional
// fields are left out.
func Message(m proto.Message) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := encodeMessage(&b, m.ProtoReflect()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Messages returns the JSON forms of messages.
func Messages[M proto.Message](list []M) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, len(list))
	for i, m := range list {
		b, err := Message(m)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

func encodeMessage(b *bytes.Buffer, m protoreflect.Message) error {
	switch v := m.Interface().(type) {
	case *timestamppb.Timestamp:
		return encodeValue(b, v.AsTime().UTC().Format(time.RFC3339Nano))
	case *durationpb.Duration:
		return encodeValue(b, strconv.FormatFloat(v.AsDuration().Seconds(), 'f', -1, 64)+"s")
	}
	b.WriteByte('{')
	fields := m.Descriptor().Fields()
	separator := ""
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.HasPresence() && !m.Has(fd) {
			continue
		}
		fmt.Fprintf(b, "%s%q:", separator, fd.Name())
		separator = ","
		if err := encodeField(b, fd, m.Get(fd)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func encodeField(b *bytes.Buffer, fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case fd.IsMap():
		return fmt.Errorf("field %s: maps have no JSON form here", fd.FullName())
	case fd.IsList():
		list := v.List()
		b.WriteByte('[')
		for i := range list.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := encodeSingle(b, fd, list.Get(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return encodeSingle(b, fd, v)
}

func encodeSingle(b *bytes.Buffer, fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return encodeMessage(b, v.Message())
	case protoreflect.EnumKind:
		if named := fd.Enum().Values().ByNumber(v.Enum()); named != nil {
			return encodeValue(b, string(named.Name()))
		}
		return encodeValue(b, int32(v.Enum())) // of a newer node
	}
	return encodeValue(b, v.Interface())
}

func encodeValue(b *bytes.Buffer, v any) error {
	s, err := Marshal(v)
	if err != nil {
		return err
	}
	b.Write(s)
	return nil
}

// Marshal is json.Marshal that leaves <, > and & readable.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
