package restv1_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/url"
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

// The bodies that the document describes are those that apijson reads.
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
			inPath := pathOf(o)
			must := func(message, field string) bool { return slices.Contains(schemas[message].Required, field) }
			r := rand.New(rand.NewPCG(2, uint64(len(path))))
			for range 300 {
				m := messageNamed(name)
				fill(r, m, must, 2)
				text := body(t, m.Interface(), inPath)
				if err := d.Request(method, path, text); err != nil {
					t.Fatalf("%s %s: %v\n%s", method, path, err, text)
				}
				got := messageNamed(name)
				if err := apijson.Decode(text, got.Interface(), inPath...); err != nil {
					t.Fatalf("%s %s: %v\n%s", method, path, err, text)
				}
				for _, field := range inPath {
					m.Clear(m.Descriptor().Fields().ByName(protoreflect.Name(field)))
				}
				if !proto.Equal(got.Interface(), m.Interface()) {
					t.Fatalf("%s %s: %s was read as %v", method, path, text, got)
				}
			}
			for _, field := range inPath {
				if err := d.Request(method, path, []byte(`{"`+field+`":"x"}`)); err == nil {
					t.Errorf("%s %s: %s stands in the path, and may be in the body", method, path, field)
				}
			}
		}
	}
	if bodies < 10 {
		t.Errorf("only %d bodies", bodies)
	}
}

func pathOf(o *openapitest.Operation) (names []string) {
	for _, p := range o.Parameters {
		if p.In == "path" {
			names = append(names, p.Name)
		}
	}
	return names
}

// The query parameters that the document describes are those that apijson reads: each of them, and no other.
func TestTheDocumentDescribesTheQueriesThatApijsonReads(t *testing.T) {
	calls := map[string]string{ // of operations whose ids are not those of their calls
		"revokeTokenByQuery": "RevokeToken",
	}
	d := document(t)
	queries := 0
	for path, methods := range d.Paths {
		for method, o := range methods {
			if o.Body != nil || o.ID == "getDocument" || o.ID == "renewLease" {
				continue
			}
			name := calls[o.ID]
			if name == "" {
				name = strings.ToUpper(o.ID[:1]) + o.ID[1:]
			}
			m := messageNamed(name + "Request")
			if m == nil {
				t.Errorf("%s %s: there is no message %sRequest", method, path, name)
				continue
			}
			var described []string
			for _, p := range o.Parameters {
				if p.In != "query" || p.Name == "last_event_id" {
					continue
				}
				described = append(described, p.Name)
				queries++
				value := "1" // of a number, a text and a list of texts
				switch kind := kindOf(t, p); kind {
				case "boolean":
					value = "true"
				case "date-time":
					value = "2026-11-29T02:45:33.5Z"
				case "number":
					value = "0.5"
				case "array", "enum":
					value = firstOf(t, p)
				}
				got := m.New()
				if err := apijson.Query(url.Values{p.Name: {value}}, got.Interface(), pathOf(o)...); err != nil {
					t.Errorf("%s %s?%s=%s: %v", method, path, p.Name, value, err)
				}
				if !got.IsValid() || proto.Size(got.Interface()) == 0 {
					t.Errorf("%s %s?%s=%s sets nothing", method, path, p.Name, value)
				}
			}
			for _, name := range leaves(m.Descriptor(), "") {
				if slices.Contains(pathOf(o), name) {
					continue
				}
				if !slices.Contains(described, name) {
					t.Errorf("%s %s: the parameter %s is not described", method, path, name)
				}
			}
		}
	}
	if queries < 60 {
		t.Errorf("only %d parameters", queries)
	}
}

// leaves are the fields of a message, and of the objects in it, by their names in a query.
func leaves(d protoreflect.MessageDescriptor, prefix string) (names []string) {
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		if fd.Message() != nil && fd.Message().ParentFile().Package() == "rollcall.v1" {
			names = append(names, leaves(fd.Message(), prefix+string(fd.Name())+".")...)
			continue
		}
		names = append(names, prefix+apijson.FieldName(fd))
	}
	return names
}

type parameterSchema struct {
	Ref    string   `json:"$ref"`
	Type   string   `json:"type"`
	Format string   `json:"format"`
	Enum   []string `json:"enum"`
	Items  *parameterSchema
}

func parameterOf(t *testing.T, p openapitest.Parameter) (s parameterSchema) {
	t.Helper()
	text, err := json.Marshal(p.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// kindOf is what a parameter takes: the type, "date-time" or "enum".
func kindOf(t *testing.T, p openapitest.Parameter) string {
	switch s := parameterOf(t, p); {
	case s.Ref != "":
		return "enum"
	case s.Format == "date-time":
		return s.Format
	default:
		return s.Type
	}
}

// firstOf is a value of a parameter that takes those of an enum, or a list.
func firstOf(t *testing.T, p openapitest.Parameter) string {
	t.Helper()
	s := parameterOf(t, p)
	if s.Items != nil {
		s = *s.Items
	}
	if s.Ref == "" {
		return "1"
	}
	var read struct {
		Components struct {
			Schemas map[string]parameterSchema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(restv1.Document, &read); err != nil {
		t.Fatal(err)
	}
	enum := read.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")].Enum
	return enum[len(enum)-1]
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
