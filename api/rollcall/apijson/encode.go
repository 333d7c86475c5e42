package apijson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// docs/json.md promises what this file does.

// Message is an API message in JSON. Fields have the names and the order of the proto. Numbers of 64 bits are
// numbers (protojson writes strings), times are RFC 3339 in UTC. A duration is a number of seconds, and the
// name of its field gets the end "_seconds". Statuses have the names of grpc.health.v1; other enums are
// written as the command line writes them: "member-changed". Scalars and lists are written even if they are
// empty. Messages and optional fields that are absent, enums that say nothing, and what left knows of are left
// out.
type Message struct{ proto.Message }

// MarshalJSON implements json.Marshaler.
func (m Message) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := encodeMessage(&b, m.ProtoReflect(), nil); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Messages is a list of API messages in JSON.
func Messages[M proto.Message](list []M) []Message {
	out := make([]Message, len(list))
	for i, m := range list {
		out[i] = Message{m}
	}
	return out
}

// Time is a time in JSON: RFC 3339 in UTC.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return Marshal(utc(t.Time)) }

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Seconds is a duration in JSON: a number of seconds, exact to the nanosecond.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	d, sign := time.Duration(s), ""
	if d < 0 {
		d, sign = -d, "-"
	}
	text := fmt.Sprintf("%s%d.%09d", sign, d/time.Second, d%time.Second)
	return []byte(strings.TrimSuffix(strings.TrimRight(text, "0"), ".")), nil
}

// encodeMessage writes m, the value of the field of; nil: of none.
func encodeMessage(b *bytes.Buffer, m protoreflect.Message, of protoreflect.FieldDescriptor) error {
	switch v := m.Interface().(type) {
	case *timestamppb.Timestamp:
		return encodeValue(b, utc(v.AsTime()))
	case *durationpb.Duration:
		return encodeValue(b, Seconds(v.AsDuration()))
	}
	b.WriteByte('{')
	fields := m.Descriptor().Fields()
	separator := ""
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.HasPresence() && !m.Has(fd) || left(m, fd, of) {
			continue
		}
		fmt.Fprintf(b, "%s%q:", separator, FieldName(fd))
		separator = ","
		if err := encodeField(b, fd, m.Get(fd)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// FieldName returns the name of a field in JSON: that of the proto; of a duration with "_seconds" at its end.
func FieldName(fd protoreflect.FieldDescriptor) string {
	if m := fd.Message(); m != nil && m.FullName() == (&durationpb.Duration{}).ProtoReflect().Descriptor().FullName() {
		return string(fd.Name()) + "_seconds"
	}
	return string(fd.Name())
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
		return encodeMessage(b, v.Message(), fd)
	case protoreflect.EnumKind:
		if named := fd.Enum().Values().ByNumber(v.Enum()); named != nil {
			return encodeValue(b, EnumName(named))
		}
		return encodeValue(b, int32(v.Enum())) // of a newer node
	}
	return encodeValue(b, v.Interface())
}

// EnumName returns a value of an enum as the command line and JSON write it. Values whose names begin with the
// name of their enum lose that: EVENT_TYPE_MEMBER_CHANGED is "member-changed". Statuses stay as they are.
func EnumName(v protoreflect.EnumValueDescriptor) string {
	name := string(v.Name())
	short, ok := strings.CutPrefix(name, enumPrefix(v.Parent().Name()))
	if !ok {
		return name
	}
	return strings.ToLower(strings.ReplaceAll(short, "_", "-"))
}

// enumPrefix is what the values of an enum begin with by the rules of protos: EVENT_TYPE_ for EventType.
func enumPrefix(enum protoreflect.Name) string {
	var b strings.Builder
	for i, r := range string(enum) {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String()) + "_"
}

func encodeValue(b *bytes.Buffer, v any) error {
	s, err := Marshal(v)
	if err != nil {
		return err
	}
	b.Write(s)
	return nil
}

// Marshal returns v, anything that encoding/json takes, as JSON on one line. It leaves <, > and & readable.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// Indented is Marshal on many lines.
func Indented(v any) ([]byte, error) {
	line, err := Marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
