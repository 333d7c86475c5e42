package apijson

import (
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// form is what is known of a type of message: it is made once, because the descriptors are slow to ask.
type form struct {
	fields []field
	index  map[string]int // of a field, by its name in JSON
}

type field struct {
	fd       protoreflect.FieldDescriptor
	name     protoreflect.Name
	json     string // FieldName
	key      string // as it stands in an object: "name":
	kind     protoreflect.Kind
	list     bool
	presence bool
	silent   bool                               // an enum whose zero says nothing
	names    map[protoreflect.EnumNumber]string // of an enum's values, in quotation marks
}

var forms sync.Map // protoreflect.MessageDescriptor → *form

func formOf(d protoreflect.MessageDescriptor) *form {
	if known, ok := forms.Load(d); ok {
		return known.(*form)
	}
	made, _ := forms.LoadOrStore(d, newForm(d))
	return made.(*form)
}

func newForm(d protoreflect.MessageDescriptor) *form {
	fields := d.Fields()
	made := &form{fields: make([]field, fields.Len()), index: make(map[string]int, fields.Len())}
	for i := range fields.Len() {
		fd := fields.Get(i)
		f := field{fd: fd, name: fd.Name(), json: FieldName(fd), kind: fd.Kind(), list: fd.IsList(), presence: fd.HasPresence()}
		f.key = string(appendText(nil, f.json)) + ":"
		if fd.IsMap() {
			f.kind = 0 // maps have no form
		}
		if e := fd.Enum(); e != nil {
			f.names = map[protoreflect.EnumNumber]string{}
			for i := range e.Values().Len() {
				// Of two names for one number the first counts.
				if v := e.Values().Get(i); f.names[v.Number()] == "" {
					f.names[v.Number()] = string(appendText(nil, EnumName(v)))
				}
			}
			f.silent = !f.list && f.names[0] == `"`+unspecified+`"`
		}
		made.fields[i] = f
		made.index[f.json] = i
	}
	return made
}

// unspecified is the name of an enum's value that says nothing.
const unspecified = "unspecified"

// empty reports whether v, of a scalar without presence, is its zero.
func (f *field) empty(v protoreflect.Value) bool {
	switch f.kind {
	case protoreflect.StringKind:
		return v.String() == ""
	case protoreflect.BoolKind:
		return !v.Bool()
	case protoreflect.EnumKind:
		return v.Enum() == 0
	case protoreflect.BytesKind:
		return len(v.Bytes()) == 0
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return v.Int() == 0
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return v.Uint() == 0
	}
	return false
}
