package logv1_test

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// maxDepth bounds the paths of messages that hold themselves.
const maxDepth = 8

// decoders are all messages that nodes write and send.
func decoders(t testing.TB) []logv1.Message {
	t.Helper()
	var all []logv1.Message
	var add func(messages protoreflect.MessageDescriptors)
	add = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			typ, err := protoregistry.GlobalTypes.FindMessageByName(messages.Get(i).FullName())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, typ.New().Interface().(logv1.Message))
			add(messages.Get(i).Messages())
		}
	}
	add(logv1.File_rollcall_log_v1_log_proto.Messages())
	add(peerv1.File_rollcall_peer_v1_peer_proto.Messages())
	return all
}

// nested calls visit with every message that is in m, m first, and how to encode one that holds the given
// bytes at that place.
func nested(m protoreflect.MessageDescriptor, visit func(path string, m protoreflect.MessageDescriptor, wrap func([]byte) []byte)) {
	var walk func(path string, m protoreflect.MessageDescriptor, depth int, wrap func([]byte) []byte)
	walk = func(path string, m protoreflect.MessageDescriptor, depth int, wrap func([]byte) []byte) {
		visit(path, m, wrap)
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if f.Message() == nil || depth == maxDepth {
				continue
			}
			walk(path+"."+string(f.Name()), f.Message(), depth+1, func(b []byte) []byte {
				return wrap(protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), b))
			})
		}
	}
	walk(string(m.Name()), m, 0, func(b []byte) []byte { return b })
}

// TestUnknownFields: a field that this binary does not know is an error wherever it stands, of whatever
// type it is.
func TestUnknownFields(t *testing.T) {
	const number = 1000
	unknown := map[string][]byte{
		"varint":  protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 1),
		"bytes":   protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), []byte("x")),
		"fixed32": protowire.AppendFixed32(protowire.AppendTag(nil, number, protowire.Fixed32Type), 1),
		"fixed64": protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), 1),
	}
	tried := 0
	for _, m := range decoders(t) {
		nested(m.ProtoReflect().Descriptor(), func(path string, _ protoreflect.MessageDescriptor, wrap func([]byte) []byte) {
			for what, field := range unknown {
				tried++
				if err := m.UnmarshalVT(wrap(field)); !errors.Is(err, logv1.ErrUnknown) {
					t.Errorf("a %s in %s: %v", what, path, err)
				}
				m.Reset()
			}
		})
	}
	if tried < 400 {
		t.Errorf("only %d places were tried", tried)
	}
}

// open says whether a field of an enum takes any number: see tools/protogen.
func open(f protoreflect.FieldDescriptor) bool {
	switch f.FullName() {
	case "rollcall.log.v1.Change.status", "rollcall.peer.v1.Hello.purpose":
		return true
	}
	return f.Enum().FullName() == "rollcall.log.v1.Kind"
}

// TestUnknownValues: so is a value of an enum, unless who acts on it refuses what is unknown.
func TestUnknownValues(t *testing.T) {
	tried := 0
	for _, m := range decoders(t) {
		nested(m.ProtoReflect().Descriptor(), func(path string, d protoreflect.MessageDescriptor, wrap func([]byte) []byte) {
			for i := range d.Fields().Len() {
				f := d.Fields().Get(i)
				if f.Enum() == nil || open(f) {
					continue
				}
				for _, value := range []int32{100, -1} {
					tried++
					b := protowire.AppendVarint(protowire.AppendTag(nil, f.Number(), protowire.VarintType), uint64(value))
					if err := m.UnmarshalVT(wrap(b)); !errors.Is(err, logv1.ErrUnknown) {
						t.Errorf("value %d of %s.%s: %v", value, path, f.Name(), err)
					}
					m.Reset()
				}
				for j := range f.Enum().Values().Len() {
					known := f.Enum().Values().Get(j).Number()
					b := protowire.AppendVarint(protowire.AppendTag(nil, f.Number(), protowire.VarintType), uint64(known))
					if err := m.UnmarshalVT(wrap(b)); err != nil {
						t.Errorf("value %d of %s.%s: %v", known, path, f.Name(), err)
					}
					m.Reset()
				}
			}
		})
	}
	if tried < 20 {
		t.Errorf("only %d places were tried", tried)
	}
}

// TestOpenRefusesUnknown: sealed bytes with something unknown in them are not damaged, but of a newer
// format.
func TestOpenRefusesUnknown(t *testing.T) {
	sealed, err := logv1.Seal(&raw{Entry: &logv1.Entry{}, bytes: []byte{0x1a, 0x03, 0xf8, 0x01, 0x01}}) // commands[0] has field 31
	if err != nil {
		t.Fatal(err)
	}
	err = logv1.Open(sealed, &logv1.Entry{})
	if !errors.Is(err, logv1.ErrUnknown) || errors.Is(err, logv1.ErrChecksum) || !errors.Is(err, logv1.ErrFormat) {
		t.Errorf("opened: %v", err)
	}
}

func TestEntryLevel(t *testing.T) {
	for level, want := range map[uint32]uint32{0: 1, 1: 1, 2: 2, 1 << 31: 1 << 31} {
		sealed, err := logv1.Seal(&logv1.Entry{
			Time: -1, Level: level, StateHash: &logv1.StateHash{Version: 9, Hash: []byte("hash")},
			Commands: []*logv1.Command{{Reason: "r"}, {Kind: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: 7}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := logv1.EntryLevel(sealed); err != nil || got != want {
			t.Errorf("level %d: %d, %v; want %d", level, got, err, want)
		}
		sealed[len(sealed)-1] ^= 1
		if _, err := logv1.EntryLevel(sealed); !errors.Is(err, logv1.ErrChecksum) {
			t.Errorf("a damaged entry: %v", err)
		}
	}
}

// FuzzEntryLevel: the level is found in whatever the decoder takes.
func FuzzEntryLevel(f *testing.F) {
	f.Add([]byte{0x20, 0x02})
	f.Add([]byte{0x1a, 0x02, 0x20, 0x05, 0x20, 0x03})
	f.Fuzz(func(t *testing.T, payload []byte) {
		sealed, err := logv1.Seal(&raw{Entry: &logv1.Entry{}, bytes: payload})
		if err != nil {
			t.Fatal(err)
		}
		var entry logv1.Entry
		if logv1.Open(sealed, &entry) != nil {
			return
		}
		if got, err := logv1.EntryLevel(sealed); err != nil || got != logv1.LevelOf(entry.GetLevel()) {
			t.Fatalf("level %d, %v; the entry says %d", got, err, entry.GetLevel())
		}
	})
}

// raw is a message of given bytes.
type raw struct {
	*logv1.Entry
	bytes []byte
}

func (r *raw) SizeVT() int { return len(r.bytes) }

func (r *raw) MarshalToSizedBufferVT(b []byte) (int, error) { return copy(b, r.bytes), nil }

// FuzzDecoders: what a decoder takes is what protobuf's own takes, and it has lost nothing of it.
func FuzzDecoders(f *testing.F) {
	for i, m := range decoders(f) {
		nested(m.ProtoReflect().Descriptor(), func(_ string, d protoreflect.MessageDescriptor, wrap func([]byte) []byte) {
			for j := range d.Fields().Len() {
				f.Add(i, wrap(protowire.AppendVarint(protowire.AppendTag(nil, d.Fields().Get(j).Number(), protowire.VarintType), 3)))
				f.Add(i, wrap(protowire.AppendBytes(protowire.AppendTag(nil, d.Fields().Get(j).Number(), protowire.BytesType), []byte("ab"))))
			}
		})
	}
	all := decoders(f)
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		if which < 0 || which >= len(all) {
			return
		}
		m := all[which].ProtoReflect().New().Interface().(logv1.Message)
		if m.UnmarshalVT(data) != nil {
			return
		}
		own := m.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(data, own); err != nil {
			if encoded, e := proto.Marshal(m); e == nil { // else a string is not UTF-8, which the decoders leave to others
				t.Fatalf("protobuf does not take it: %v; decoded as %x", err, encoded)
			}
			return
		}
		if !proto.Equal(m, own) {
			t.Fatalf("decoded as %v, by protobuf as %v", m, own)
		}
		if where := unknownIn(own.ProtoReflect()); where != "" {
			t.Fatalf("taken with an unknown field in %s", where)
		}
		room := make([]byte, m.SizeVT())
		if n, err := m.MarshalToSizedBufferVT(room); err != nil || n != len(room) {
			t.Fatalf("encoded again: %d bytes of %d, %v", n, len(room), err)
		}
		again := m.ProtoReflect().New().Interface().(logv1.Message)
		if err := again.UnmarshalVT(room); err != nil || !proto.Equal(m, again) {
			t.Fatalf("decoded again as %v (%v), not %v", again, err, m)
		}
	})
}

// unknownIn names a message that holds an unknown field or value; "": none does.
func unknownIn(m protoreflect.Message) string {
	name := string(m.Descriptor().Name())
	if len(m.GetUnknown()) > 0 {
		return name
	}
	where := ""
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() != nil && f.IsList():
			for i := range v.List().Len() {
				if where == "" {
					where = unknownIn(v.List().Get(i).Message())
				}
			}
		case f.Message() != nil:
			where = unknownIn(v.Message())
		case f.Enum() != nil && f.IsList():
			for i := range v.List().Len() {
				if f.Enum().Values().ByNumber(v.List().Get(i).Enum()) == nil {
					where = fmt.Sprintf("%s.%s", name, f.Name())
				}
			}
		case f.Enum() != nil && !open(f) && f.Enum().Values().ByNumber(v.Enum()) == nil:
			where = fmt.Sprintf("%s.%s", name, f.Name())
		}
		return where == ""
	})
	return where
}

// TestPayloadAllocatesNothing: an envelope is opened several times for every write.
func TestPayloadAllocatesNothing(t *testing.T) {
	sealed, err := logv1.Seal(&logv1.Entry{Time: 1, Commands: []*logv1.Command{{Reason: "r"}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = logv1.Payload(sealed) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = logv1.EntryLevel(sealed) }); n != 0 {
		t.Errorf("the level: %v allocations", n)
	}
}
