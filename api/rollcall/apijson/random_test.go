package apijson

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// everyMessage returns an empty message of each type of the API.
func everyMessage(t testing.TB) []proto.Message {
	t.Helper()
	var all []proto.Message
	types := rollcallv1.File_rollcall_v1_rollcall_proto.Messages()
	for i := range types.Len() {
		typ, err := protoregistry.GlobalTypes.FindMessageByName(types.Get(i).FullName())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, typ.New().Interface())
	}
	if len(all) < 80 {
		t.Fatalf("%d types of messages; there are more", len(all))
	}
	return all
}

// fill gives the fields of m random values; many stay empty.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch one := fd.ContainingOneof(); {
		case r.IntN(3) == 0, one != nil && !one.IsSynthetic() && m.WhichOneof(one) != nil:
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range r.IntN(4) {
				list.Append(random(r, fd, list.NewElement(), depth))
			}
		default:
			m.Set(fd, random(r, fd, m.NewField(fd), depth))
		}
	}
}

func random(r *rand.Rand, fd protoreflect.FieldDescriptor, empty protoreflect.Value, depth int) protoreflect.Value {
	number := func() uint64 {
		switch r.IntN(4) {
		case 0:
			return 0
		case 1:
			return uint64(r.IntN(1000))
		}
		return r.Uint64()
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(randomText(r))
	case protoreflect.BytesKind:
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return protoreflect.ValueOfBytes(b)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(r.IntN(values.Len())).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number()))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(number()))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number()))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(number())
	}
	switch v := empty.Message().Interface().(type) {
	case *timestamppb.Timestamp:
		first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
		proto.Merge(v, &timestamppb.Timestamp{Seconds: first + r.Int64N(last-first), Nanos: int32(number() % 1e9)})
	case *durationpb.Duration:
		d := time.Duration(number())
		if d == math.MinInt64 {
			d++ // it has no JSON that is read again: it stands for anything longer, too
		}
		proto.Merge(v, durationpb.New(d))
	default:
		if depth > 0 {
			fill(r, empty.Message(), depth-1)
		}
	}
	return empty
}

// randomText returns text with all that JSON has to escape.
func randomText(r *rand.Rand) string {
	const letters = "abcXYZ019-_./:*\"\\'<>&\x00\x01\b\f\n\r\t\x1f\x7fäßé\u0080\u2027\u2028\u2029\u202a\ufffd\ufeff日本🦊"
	runes := []rune(letters)
	s := make([]rune, r.IntN(12))
	for i := range s {
		s[i] = runes[r.IntN(len(runes))]
	}
	return string(s)
}

// valueFor returns a value of a scalar, time or duration that is not its zero.
func valueFor(f *field) protoreflect.Value {
	switch f.kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("a")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{1})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	}
	if f.isText() {
		return protoreflect.ValueOfMessage(timestamppb.New(time.Unix(1, 0)).ProtoReflect())
	}
	return protoreflect.ValueOfMessage(durationpb.New(time.Second).ProtoReflect())
}
