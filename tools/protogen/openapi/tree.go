package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// object is a JSON object whose members keep their order, so that the document reads as it was written, and is the
// same each time.
type object struct {
	keys   []string
	values map[string]any
}

// obj makes an object of keys and values in turn.
func obj(members ...any) *object {
	o := &object{values: map[string]any{}}
	for i := 0; i < len(members); i += 2 {
		o.set(members[i].(string), members[i+1])
	}
	return o
}

// set sets a member. One that is new becomes the last.
func (o *object) set(key string, value any) {
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// take returns a member, nil if there is none, and removes it.
func (o *object) take(key string) any {
	value := o.values[key]
	delete(o.values, key)
	o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	return value
}

// child returns the object that is a member; it is made if it is not there.
func (o *object) child(key string) *object {
	if child, ok := o.values[key].(*object); ok {
		return child
	}
	child := obj()
	o.set(key, child)
	return child
}

// MarshalJSON implements json.Marshaler.
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := write(&b, key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := write(&b, o.values[key]); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func write(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// indented returns the document as it is committed.
func indented(o *object) ([]byte, error) {
	line, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// read makes a tree of YAML: objects, []any, and scalars.
func read(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.DocumentNode:
		return read(n.Content[0])
	case yaml.MappingNode:
		o := obj()
		for i := 0; i < len(n.Content); i += 2 {
			value, err := read(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			o.set(n.Content[i].Value, value)
		}
		return o, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			value, err := read(c)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		var value any
		if err := n.Decode(&value); err != nil {
			return nil, err
		}
		return value, nil
	}
	return nil, fmt.Errorf("line %d: only mappings, lists and scalars are understood", n.Line)
}

// refs returns what the tree refers to in the document.
func refs(v any, to map[string]bool) {
	switch v := v.(type) {
	case *object:
		if ref, ok := v.values["$ref"].(string); ok {
			to[ref] = true
		}
		for _, key := range v.keys {
			refs(v.values[key], to)
		}
	case []any:
		for _, element := range v {
			refs(element, to)
		}
	}
}
