package apijson

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// docs/json.md says what this file takes.

// Query reads query parameters into m. A parameter is called as the field in JSON; a field of an object has the names
// of both: at.revision. A list is given as one value with commas, or by the parameter several times. Fields of skip,
// which are known from elsewhere, are not parameters. What is not a parameter, or has a value that the field does not
// take, is an *Error. After an error m has a part of what was read.
func Query(values url.Values, m proto.Message, skip ...string) error {
	parameters := map[string]parameter{}
	var names []string
	addParameters(parameters, &names, m.ProtoReflect().Descriptor(), "", nil, skip)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		p, ok := parameters[name]
		if !ok {
			if slices.Contains(skip, name) {
				return &Error{Field: name, Message: "it stands in the path of the URL; leave it out of the query"}
			}
			return unknown(m.ProtoReflect().Descriptor(), "", name, names)
		}
		if err := p.set(m.ProtoReflect(), name, values[name]); err != nil {
			return err
		}
	}
	return nil
}

// parameter is a field that can be given in a query, and the fields of the objects that it stands in.
type parameter struct {
	in    []protoreflect.FieldDescriptor
	field *field
}

func addParameters(to map[string]parameter, names *[]string, d protoreflect.MessageDescriptor, prefix string, in []protoreflect.FieldDescriptor, skip []string) {
	form := formOf(d)
	for i := range form.fields {
		f := &form.fields[i]
		name := prefix + f.json
		switch {
		case slices.Contains(skip, name) || slices.Contains(in, f.fd):
		case !f.isObject():
			to[name] = parameter{in, f}
			*names = append(*names, name)
		case !f.list: // a list of objects has no form in a query
			addParameters(to, names, f.fd.Message(), name+".", append(slices.Clone(in), f.fd), skip)
		}
	}
}

func (p parameter) set(m protoreflect.Message, name string, values []string) error {
	for _, fd := range p.in {
		m = m.Mutable(fd).Message()
	}
	f := p.field
	if err := alone(m, f, name); err != nil {
		return err
	}
	if f.list {
		list := m.Mutable(f.fd).List()
		for _, value := range values {
			for part := range strings.SplitSeq(value, ",") {
				v, err := parseParameter(f, name, part)
				if err != nil {
					return err
				}
				list.Append(v)
			}
		}
		return nil
	}
	if len(values) != 1 {
		return &Error{Field: name, Message: "it stands there twice"}
	}
	v, err := parseParameter(f, name, values[0])
	if err != nil {
		return err
	}
	m.Set(f.fd, v)
	return nil
}

func parseParameter(f *field, name, value string) (protoreflect.Value, error) {
	var (
		v   protoreflect.Value
		err error
	)
	switch {
	case f.kind == protoreflect.BoolKind && (value == "true" || value == "false"):
		return protoreflect.ValueOfBool(value == "true"), nil
	case f.kind == protoreflect.BoolKind:
		return v, &Error{Field: name, Message: "must be true or false, and not " + shown(value)}
	case f.isText():
		v, err = parse(f, value)
	default:
		v, err = parseNumber(f, value)
	}
	if err != nil {
		return v, &Error{Field: name, Message: err.Error()}
	}
	return v, nil
}

// isText reports whether a value of f is a text in JSON.
func (f *field) isText() bool {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.EnumKind, protoreflect.BytesKind:
		return true
	}
	return f.kind == protoreflect.MessageKind && f.fd.Message().FullName() == timestampName
}
