package apijson

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// reference writes m as Append should, with encoding/json for each value: slow and plain.
func reference(m proto.Message) []byte {
	var b bytes.Buffer
	referenceMessage(&b, m.ProtoReflect(), nil)
	return b.Bytes()
}

func referenceMessage(b *bytes.Buffer, m protoreflect.Message, of protoreflect.FieldDescriptor) {
	switch v := m.Interface().(type) {
	case *timestamppb.Timestamp:
		referenceValue(b, v.AsTime().Format(time.RFC3339Nano))
		return
	case *durationpb.Duration:
		seconds := new(big.Rat).SetFrac(big.NewInt(int64(v.AsDuration())), big.NewInt(1e9)).FloatString(9)
		b.WriteString(strings.TrimSuffix(strings.TrimRight(seconds, "0"), "."))
		return
	}
	b.WriteByte('{')
	separator := ""
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		silent := fd.Kind() == protoreflect.EnumKind && !fd.IsList() && EnumName(fd.Enum().Values().ByNumber(0)) == "unspecified"
		if !m.Has(fd) && (fd.HasPresence() || silent || left(m.Interface(), fd.Name(), of)) {
			continue
		}
		fmt.Fprintf(b, "%s%q:", separator, FieldName(fd))
		separator = ","
		if !fd.IsList() {
			referenceSingle(b, fd, m.Get(fd))
			continue
		}
		list := m.Get(fd).List()
		b.WriteByte('[')
		for i := range list.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			referenceSingle(b, fd, list.Get(i))
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
}

func referenceSingle(b *bytes.Buffer, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		referenceMessage(b, v.Message(), fd)
	case protoreflect.EnumKind:
		if named := fd.Enum().Values().ByNumber(v.Enum()); named != nil {
			referenceValue(b, EnumName(named))
		} else {
			referenceValue(b, int32(v.Enum()))
		}
	case protoreflect.BytesKind:
		if strings.HasSuffix(string(fd.Name()), "_sha256") {
			referenceValue(b, hex.EncodeToString(v.Bytes()))
		} else {
			referenceValue(b, base64.StdEncoding.EncodeToString(v.Bytes()))
		}
	default:
		referenceValue(b, v.Interface())
	}
}

func referenceValue(b *bytes.Buffer, v any) {
	s, err := Marshal(v)
	if err != nil {
		panic(err)
	}
	b.Write(s)
}
