package logv1_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// With -golden the golden files of this binary's level are written. Once a level is released its files are
// never written again: they are what that level's binaries write and send.
var writeGolden = flag.Bool("golden", false, "write testdata/levelN of the newest level")

func goldenDirectory(level uint32) string {
	return filepath.Join("testdata", fmt.Sprint("level", level))
}

// TestGoldenMessages: the messages that the binaries of each level wrote and sent are read as they were
// meant, and encoded again they give the same bytes. A file pair is one message: its bytes, and what they
// mean.
func TestGoldenMessages(t *testing.T) {
	if *writeGolden {
		writeGoldenMessages(t, goldenDirectory(logv1.Level))
	}
	for level := logv1.BaseLevel; level <= logv1.Level; level++ {
		files, err := filepath.Glob(filepath.Join(goldenDirectory(level), "*.bin"))
		if err != nil || len(files) == 0 || len(files) < len(decoders(t)) && level == logv1.Level {
			t.Fatalf("level %d has %d golden messages, %v", level, len(files), err)
		}
		for _, file := range files {
			t.Run(fmt.Sprintf("level%d/%s", level, filepath.Base(file)), func(t *testing.T) {
				encoded, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(strings.TrimSuffix(file, ".bin") + ".txtpb")
				if err != nil {
					t.Fatal(err)
				}
				m := messageOf(t, file)
				want := m.ProtoReflect().New().Interface()
				if err := prototext.Unmarshal(text, want); err != nil {
					t.Fatal(err)
				}
				if err := m.UnmarshalVT(encoded); err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(m, want) {
					t.Errorf("read as %v, want %v", m, want)
				}
				if again := encode(t, m); !bytes.Equal(again, encoded) {
					t.Errorf("encoded again: %x, want %x", again, encoded)
				}
			})
		}
	}
}

// TestEveryMessageIsGolden: what this binary can write is in the golden files of a level, field by field. A
// new field raises the level.
func TestEveryMessageIsGolden(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	for level := logv1.BaseLevel; level <= logv1.Level; level++ {
		files, err := filepath.Glob(filepath.Join(goldenDirectory(level), "*.bin"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			encoded, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m := messageOf(t, file)
			if err := m.UnmarshalVT(encoded); err != nil {
				t.Fatal(err)
			}
			m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
				seen[f.FullName()] = true
				return true
			})
		}
	}
	for _, m := range decoders(t) {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if !seen[fields.Get(i).FullName()] {
				t.Errorf("%s is in no golden file: a new field needs the next level, see docs/architecture.md "+
					"(before the first release: go test ./api/rollcall/log/v1 -golden)", fields.Get(i).FullName())
			}
		}
	}
}

// messageOf returns an empty message of the type that a golden file is named after.
func messageOf(t *testing.T, file string) logv1.Message {
	t.Helper()
	name, _, _ := strings.Cut(filepath.Base(file), "-")
	name = strings.TrimSuffix(name, ".bin")
	for _, m := range decoders(t) {
		if string(m.ProtoReflect().Descriptor().FullName()) == name {
			return m
		}
	}
	t.Fatalf("%s: there is no message %s any more", file, name)
	return nil
}

func encode(t *testing.T, m logv1.Message) []byte {
	t.Helper()
	b := make([]byte, m.SizeVT())
	if _, err := m.MarshalToSizedBufferVT(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeGoldenMessages(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	write := func(name string, m logv1.Message) {
		text, err := prototext.MarshalOptions{Multiline: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte(":  "), []byte(": ")) // prototext adds a space in some builds
		for suffix, content := range map[string][]byte{".bin": encode(t, m), ".txtpb": text} {
			if err := os.WriteFile(filepath.Join(dir, name+suffix), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range decoders(t) {
		name := string(m.ProtoReflect().Descriptor().FullName())
		fill(m.ProtoReflect(), nil, 0)
		write(name, m)
		// One more for each other choice of a oneof.
		oneofs := m.ProtoReflect().Descriptor().Oneofs()
		for i := range oneofs.Len() {
			for j := 1; j < oneofs.Get(i).Fields().Len(); j++ {
				choice := oneofs.Get(i).Fields().Get(j)
				other := m.ProtoReflect().New()
				fill(other, choice, 0)
				write(name+"-"+string(choice.Name()), other.Interface().(logv1.Message))
			}
		}
	}
}

// maxFill is how deep messages are filled in.
const maxFill = 3

// fill sets every field of m to a value of its own; of a oneof the first, or choice.
func fill(m protoreflect.Message, choice protoreflect.FieldDescriptor, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if of := f.ContainingOneof(); of != nil && !of.IsSynthetic() {
			chosen := of.Fields().Get(0)
			if choice != nil && choice.ContainingOneof() == of {
				chosen = choice
			}
			if f != chosen {
				continue
			}
		}
		if f.Message() != nil && depth == maxFill {
			continue
		}
		value := func(n int) protoreflect.Value {
			if f.Message() != nil {
				v := m.NewField(f)
				if f.IsList() {
					v = v.List().NewElement()
				}
				fill(v.Message(), nil, depth+1)
				return v
			}
			return scalar(f, n)
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			list.Append(value(1))
			list.Append(value(2))
		} else {
			m.Set(f, value(1))
		}
	}
}

// scalar is the nth value of a field.
func scalar(f protoreflect.FieldDescriptor, n int) protoreflect.Value {
	number := int64(f.Number())*100 + int64(n)
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprint(f.Name(), " ", n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(fmt.Append(nil, f.Name(), " ", n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(int32(-number))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(-number)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(number))
	}
	panic("a field of kind " + f.Kind().String())
}
