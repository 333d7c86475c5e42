package apijson

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// docs/json.md says what this file takes.

// maxElements is how many values all lists of an object may have: twice what the largest batch has, as over gRPC
// (server/receive). An empty object takes three bytes of JSON, and a hundred and more when it is decoded.
const maxElements = 20_000

// Decode reads one JSON object into m, in the form that Append writes. Statuses may have any case, and the words of the
// command line's flags; numbers of 64 bits may be texts of digits. A field that is null counts as one that is not there.
//
// It takes nothing that it would not understand: an unknown field, one that stands there twice, a value of a wrong
// type or out of range, text that is no UTF-8, too long lists, and anything after the object, are an *Error. Fields of skip, which are
// known from elsewhere, are an error too. After an error m has a part of what was read.
func Decode(data []byte, m proto.Message, skip ...string) error {
	if err := wellFormed(data); err != nil {
		return err
	}
	r := reader{data: data}
	if r.next() != '{' {
		return &Error{Message: "the request must be a JSON object, and is " + r.kind()}
	}
	if err := decodeObject(&r, m.ProtoReflect(), "", skip); err != nil {
		return err
	}
	return nil
}

func decodeObject(r *reader, m protoreflect.Message, path string, skip []string) *Error {
	form := formOf(m.Descriptor())
	seen := make([]bool, len(form.fields))
	for more := r.open(); more; more = r.more() {
		name := r.text()
		i, ok := form.index[name]
		switch {
		case ok && slices.Contains(skip, name):
			return &Error{Field: under(path, name), Message: "it stands in the path of the URL; leave it out of the body"}
		case !ok:
			return unknown(m.Descriptor(), path, name, form.names(skip))
		case seen[i]:
			return &Error{Field: under(path, name), Message: "it stands there twice"}
		}
		seen[i] = true
		r.colon()
		if err := decodeField(r, m, &form.fields[i], under(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// decodeField reads the value of f, a field of m.
func decodeField(r *reader, m protoreflect.Message, f *field, path string) *Error {
	if r.next() == 'n' {
		r.literal()
		return nil
	}
	if err := alone(m, f, path); err != nil {
		return err
	}
	if !f.list {
		v, err := decodeSingle(r, f, m.NewField(f.fd), path)
		if err == nil {
			m.Set(f.fd, v)
		}
		return err
	}
	if r.next() != '[' {
		return &Error{Field: path, Message: "must be a list, and is " + r.kind()}
	}
	list := m.Mutable(f.fd).List()
	for more := r.open(); more; more = r.more() {
		if r.elements++; r.elements > maxElements {
			return &Error{Field: path, Message: fmt.Sprintf("the lists of a request may have %d values; send several requests", maxElements)}
		}
		element := fmt.Sprintf("%s[%d]", path, list.Len())
		v, err := decodeSingle(r, f, list.NewElement(), element)
		if err != nil {
			return err
		}
		list.Append(v)
	}
	return nil
}

// alone refuses f if another field is set of which there can be one.
func alone(m protoreflect.Message, f *field, path string) *Error {
	one := f.fd.ContainingOneof()
	if one == nil || one.IsSynthetic() {
		return nil
	}
	if other := m.WhichOneof(one); other != nil && other != f.fd {
		return &Error{Field: path, Message: "it cannot stand beside " + FieldName(other) + "; send one of them"}
	}
	return nil
}

// decodeSingle reads one value of f. empty is a new value of its type, for an object to be read into.
func decodeSingle(r *reader, f *field, empty protoreflect.Value, path string) (protoreflect.Value, *Error) {
	var (
		v   protoreflect.Value
		err error
	)
	switch c := r.next(); {
	case c == '"':
		v, err = parse(f, r.text())
	case c == '-' || '0' <= c && c <= '9':
		v, err = parseNumber(f, r.literal())
	case (c == 't' || c == 'f') && f.kind == protoreflect.BoolKind:
		v = protoreflect.ValueOfBool(r.literal() == "true")
	case c == '{' && f.isObject():
		return empty, decodeObject(r, empty.Message(), path, nil)
	default:
		return v, &Error{Field: path, Message: "must be " + wanted(f) + ", and not " + r.kind()}
	}
	if err != nil {
		return v, &Error{Field: path, Message: err.Error()}
	}
	return v, nil
}

// isObject reports whether a value of f is an object in JSON.
func (f *field) isObject() bool {
	if f.kind != protoreflect.MessageKind {
		return false
	}
	name := f.fd.Message().FullName()
	return name != timestampName && name != durationName
}

// names are those of the fields but skip.
func (f *form) names(skip []string) []string {
	var names []string
	for i := range f.fields {
		if !slices.Contains(skip, f.fields[i].json) {
			names = append(names, f.fields[i].json)
		}
	}
	return names
}
