package openapi

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const schemas = "#/components/schemas/"

// The zero of an enum that says nothing is never written.
const unspecified = "unspecified"

// fieldName is how a field is called in JSON: apijson.FieldName.
func fieldName(fd protoreflect.FieldDescriptor) string {
	if m := fd.Message(); m != nil && m.FullName() == "google.protobuf.Duration" {
		return string(fd.Name()) + "_seconds"
	}
	return string(fd.Name())
}

// message returns the schema of a message. without names fields that stand elsewhere. A request has the fields that
// it requires, and no others than those of its message; an answer has those that are always written, and may get
// others.
func (g *generator) message(m protoreflect.MessageDescriptor, request bool, without ...string) *object {
	schema := obj("type", "object")
	name := string(m.Name())
	if text := sentence(comment(m)); text != "" {
		schema.set("description", text)
	}
	var required []any
	properties := obj()
	for i := range m.Fields().Len() {
		fd := m.Fields().Get(i)
		key := fieldName(fd)
		if slices.Contains(without, key) {
			continue
		}
		properties.set(key, g.field(fd))
		if request && slices.Contains(g.Required[name], key) || !request && g.isAlways(fd) {
			required = append(required, key)
		}
	}
	if required != nil {
		schema.set("required", required)
	}
	schema.set("properties", properties)
	if request {
		schema.set("additionalProperties", false)
	}
	return schema
}

// isAlways says whether a field of an answer is always written.
func (g *generator) isAlways(fd protoreflect.FieldDescriptor) bool {
	m := string(fd.Parent().Name())
	key := fieldName(fd)
	switch {
	case slices.Contains(g.Always[m], key):
		return true
	case slices.Contains(g.Sometimes[m], key), fd.HasPresence():
		return false
	case fd.Enum() != nil && !fd.IsList():
		return enumName(fd.Enum().Values().ByNumber(0)) != unspecified
	}
	return true
}

// field returns the schema of a field's value, with what the proto says of it.
func (g *generator) field(fd protoreflect.FieldDescriptor) *object {
	schema := g.single(fd)
	if fd.IsList() {
		schema = obj("type", "array", "items", schema)
	}
	if text := g.description(fd); text != "" {
		schema.set("description", text)
	}
	return schema
}

// description is what a field means. Notes that point to another place of the proto give way to a text.
func (g *generator) description(fd protoreflect.FieldDescriptor) string {
	text := comment(fd)
	if own, ok := g.Texts[fieldName(fd)]; ok && (text == "" || strings.HasPrefix(text, "see Admin") || len(text) < len(own)) {
		return own
	}
	return sentence(text)
}

func (g *generator) single(fd protoreflect.FieldDescriptor) *object {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return obj("type", "boolean")
	case protoreflect.StringKind:
		return obj("type", "string")
	case protoreflect.BytesKind:
		if strings.HasSuffix(string(fd.Name()), "_sha256") {
			return obj("type", "string", "pattern", "^[0-9a-f]{64}$")
		}
		return obj("type", "string", "contentEncoding", "base64")
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return obj("type", "integer", "format", "int32")
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return obj("type", "integer", "format", "int64")
	case protoreflect.Uint32Kind:
		return obj("type", "integer", "minimum", 0)
	case protoreflect.Uint64Kind:
		return obj("type", "integer", "minimum", 0)
	case protoreflect.EnumKind:
		return g.reference(fd.Enum())
	case protoreflect.MessageKind:
		switch fd.Message().FullName() {
		case "google.protobuf.Timestamp":
			return obj("type", "string", "format", "date-time")
		case "google.protobuf.Duration":
			return obj("type", "number")
		}
		return g.reference(fd.Message())
	}
	g.fail("%s: a %s has no form in JSON", fd.FullName(), fd.Kind())
	return obj()
}

// reference refers to the schema of a message or an enum, which is written into the document later.
func (g *generator) reference(d protoreflect.Descriptor) *object {
	name := string(d.Name())
	if other, ok := g.named[name]; ok && other.FullName() != d.FullName() {
		g.fail("%s and %s have one name", d.FullName(), other.FullName())
	}
	g.named[name] = d
	return obj("$ref", schemas+name)
}

// enum returns the schema of an enum. More values may come.
func (g *generator) enum(e protoreflect.EnumDescriptor) *object {
	var names []any
	text := sentence(comment(e))
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if enumName(v) == unspecified {
			continue
		}
		names = append(names, enumName(v))
		if c := comment(v); c != "" {
			text += "\n- `" + enumName(v) + "`: " + c
		}
	}
	schema := obj("type", "string")
	if text = strings.TrimSpace(text); text != "" {
		schema.set("description", text)
	}
	schema.set("enum", names)
	return schema
}
