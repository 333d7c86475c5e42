package restv1_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
	"github.com/rollcallhq/rollcall/internal/openapitest"
)

func document(t *testing.T) *openapitest.Document {
	t.Helper()
	d, err := openapitest.New(restv1.Document)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// messageNamed makes an empty message of the API; nil if a schema is of none.
func messageNamed(name string) protoreflect.Message {
	found, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("rollcall.v1." + name))
	if err != nil {
		return nil
	}
	return found.New()
}

// fill sets fields of m at random, and those that must be there.
func fill(r *rand.Rand, m protoreflect.Message, must func(message, field string) bool, depth int) {
	fields := m.Descriptor().Fields()
	often := r.Float64()
	for i := range fields.Len() {
		fd := fields.Get(i)
		isObject := fd.Message() != nil
		if !must(string(m.Descriptor().Name()), apijson.FieldName(fd)) && (r.Float64() > often || isObject && depth == 0) {
			continue
		}
		if fd.IsList() {
			list := m.Mutable(fd).List()
			for range 1 + r.IntN(2) {
				v := list.NewElement()
				list.Append(value(r, fd, v, must, depth))
			}
			continue
		}
		m.Set(fd, value(r, fd, m.NewField(fd), must, depth))
	}
	// What has a name is known by it.
	for _, field := range []protoreflect.Name{"name", "identity"} {
		if fd := fields.ByName(field); fd != nil {
			m.Set(fd, protoreflect.ValueOfString("ci"))
		}
	}
}

func value(r *rand.Rand, fd protoreflect.FieldDescriptor, v protoreflect.Value, must func(message, field string) bool, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "shop/cart", "é\"\\"}[r.IntN(3)])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(r.Uint32()))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(r.Uint64()))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(r.Uint32())
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(r.Uint64())
	case protoreflect.BytesKind:
		b := make([]byte, 32)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return protoreflect.ValueOfBytes(b)
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		for {
			// The zero of most enums is never sent.
			if e := values.Get(r.IntN(values.Len())); apijson.EnumName(e) != "unspecified" {
				return protoreflect.ValueOfEnum(e.Number())
			}
		}
	}
	switch m := v.Message().Interface().(type) {
	case *timestamppb.Timestamp:
		m.Seconds, m.Nanos = r.Int64N(4e9), r.Int32N(1e9)
	case *durationpb.Duration:
		m.Seconds, m.Nanos = r.Int64N(1e6), r.Int32N(1e9)
	default:
		fill(r, v.Message(), must, depth-1)
	}
	return v
}

// schemaOf is what the test itself reads of the document.
type schemaOf struct {
	Required   []string       `json:"required"`
	Properties map[string]any `json:"properties"`
	Closed     *bool          `json:"additionalProperties"`
}

func schemasOf(t *testing.T) map[string]schemaOf {
	t.Helper()
	var read struct {
		Components struct {
			Schemas map[string]schemaOf `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(restv1.Document, &read); err != nil {
		t.Fatal(err)
	}
	return read.Components.Schemas
}

// The document is true of every answer that apijson can write, and says no less than what is true of all of them.
// That a field of a message type is always there is the server's promise, and is made true here.
func TestTheDocumentDescribesWhatApijsonWrites(t *testing.T) {
	d, schemas := document(t), schemasOf(t)
	must := func(message, field string) bool {
		if !slices.Contains(schemas[message].Required, field) {
			return false
		}
		fd := messageNamed(message).Descriptor().Fields().ByName(protoreflect.Name(field))
		return fd != nil && !fd.IsList() && (fd.HasPresence() || fd.Enum() != nil)
	}
	messages := 0
	for name := range schemas {
		m := messageNamed(name)
		if m == nil || !strings.HasSuffix(name, "Response") { // what answers have in them depends on where it stands
			continue
		}
		messages++
		r := rand.New(rand.NewPCG(1, uint64(len(name))))
		for round := range 300 {
			m := m.New()
			if round == 0 {
				fill(r, m, must, 0)
			} else {
				fill(r, m, must, 3)
			}
			text, err := apijson.Marshal(apijson.Message{Message: m.Interface()})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Validate(name, text); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
		}
	}
	if messages < 37 {
		t.Errorf("only %d messages", messages)
	}
	for _, vague := range d.Vague() {
		t.Error(vague)
	}
}

// What the document lets a client send is what apijson reads, and the reverse.
func TestTheDocumentDescribesTheBodiesThatApijsonReads(t *testing.T) {
	d, schemas := document(t), schemasOf(t)
	bodies := 0
	for path, methods := range d.Paths {
		for method, o := range methods {
			if o.Body == nil {
				continue
			}
			bodies++
			name := requestOf(t, o)
			var inPath []string
			for _, p := range o.Parameters {
				if p.In == "path" {
					inPath = append(inPath, p.Name)
				}
			}
			r := rand.New(rand.NewPCG(2, uint64(len(path))))
			m := messageNamed(name)
			for range 300 {
				m := m.New()
				fill(r, m, func(message, field string) bool { return slices.Contains(schemas[message].Required, strings.TrimSuffix(field, "_seconds")) }, 2)
				for _, field := range []string{"ttl"} { // its name in JSON is another
					if fd := m.Descriptor().Fields().ByName(protoreflect.Name(field)); fd != nil && slices.Contains(schemas[name].Required, field+"_seconds") {
						m.Set(fd, protoreflect.ValueOfMessage(durationpb.New(1e9).ProtoReflect()))
					}
				}
				text := body(t, m.Interface(), inPath)
				if err := d.Request(method, path, text); err != nil {
					t.Fatalf("%s %s: %v\n%s", method, path, err, text)
				}
			}
			for _, field := range inPath {
				text := []byte(`{"` + field + `":"x"}`)
				if err := d.Request(method, path, text); err == nil {
					t.Errorf("%s %s: %s stands in the path, and may be in the body", method, path, field)
				}
			}
		}
	}
	if bodies < 10 {
		t.Errorf("only %d bodies", bodies)
	}
}

// requestOf is the name of the message that is an operation's body.
func requestOf(t *testing.T, o *openapitest.Operation) string {
	t.Helper()
	text, err := json.Marshal(o.Body.Content["application/json"].Schema)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Ref string `json:"$ref"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(schema.Ref, "#/components/schemas/")
}

// body is m in JSON without the fields of the path.
func body(t *testing.T, m proto.Message, without []string) []byte {
	t.Helper()
	text, err := apijson.Marshal(apijson.Message{Message: m})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for _, field := range without {
		delete(members, field)
	}
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return text
}
