package config

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// This file puts a document into the structs of schema.go. The library's own decoder is not used, because it gives
// values of our types no place, and speaks of Go's types.

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// leaf takes a value that is no mapping of the schema's keys.
type leaf interface {
	take(n *yaml.Node, key string) *Error
}

// decoder goes as deep into a document as the schema, whatever the document has.
type decoder struct{ faults }

const noAlias = "aliases as *%s are not used here; write the value out"

// plain says what a value has that no value here may have.
func plain(n *yaml.Node) *Error {
	switch {
	case n.Kind == yaml.AliasNode:
		return placeOf(n).errorf(noAlias, n.Value)
	case n.Anchor != "":
		return placeOf(n).errorf("anchors as &%s are not used here; write the value out at each place", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		return placeOf(n).errorf("tags as %s are not used here; leave the tag out", n.Tag)
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// decode puts a node into a value, and collects the faults. key is the node's name in messages.
func (d *decoder) decode(n *yaml.Node, to reflect.Value, key string) {
	if e := plain(n); e != nil {
		d.add(e)
		return
	}
	if l, ok := to.Addr().Interface().(leaf); ok {
		d.add(l.take(n, key))
		return
	}
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.decode(n, to.Elem(), key)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.at(placeOf(n), "%s must be a list%s", key, howToList(n))
			return
		}
		for _, item := range n.Content {
			if d.full() {
				return
			}
			v := reflect.New(to.Type().Elem()).Elem()
			if isNull(item) {
				d.at(placeOf(item), "an entry of %s has no value", key)
				continue
			}
			d.decode(item, v, "an entry of "+key)
			to.Set(reflect.Append(to, v))
		}
	default:
		d.mapping(n, to, key)
	}
}

// howToList says how what stands where a list must be is made one.
func howToList(n *yaml.Node) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ./:_-"
	words := strings.Fields(n.Value)
	switch {
	case n.Kind == yaml.MappingNode:
		return "; begin each entry with -"
	case len(words) == 0 || len(n.Value) > 100 || strings.Trim(n.Value, plain) != "":
		return ", as [A, B]"
	}
	return ", as [" + strings.Join(words, ", ") + "]"
}

// mapping puts a mapping into a struct, whose fields have their keys as tags.
func (d *decoder) mapping(n *yaml.Node, to reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.at(placeOf(n), "%s must be a mapping with keys; possible keys are %s", key, oneOf(keysOf(to.Type())))
		return
	}
	keeper, keeps := to.Addr().Interface().(interface {
		setPlace(place)
		setEmpty(key string, at place)
	})
	if keeps {
		keeper.setPlace(placeOf(n))
	}
	d.entries(n, func(name string, at place, value *yaml.Node) {
		index, ok := fieldOf(to.Type(), name)
		switch {
		case !ok:
			d.add(unknownKey(at, name, to.Type()))
		case isNull(value):
			d.at(at, "%s has no value; give it one, or leave the key out", name)
		default:
			if keeps && value.Kind == yaml.SequenceNode && len(value.Content) == 0 {
				keeper.setEmpty(name, at)
			}
			d.decode(value, to.FieldByIndex(index), name)
		}
	})
}

// entries calls f for each key of a mapping and its value. It finds keys that stand there twice.
func (d *decoder) entries(n *yaml.Node, f func(name string, at place, value *yaml.Node)) {
	first := map[string]place{}
	for i := 0; i+1 < len(n.Content) && !d.full(); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := placeOf(key)
		if e := plain(key); e != nil {
			d.add(e)
			continue
		}
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			d.at(at, "the merge key << is not used here; write the keys out")
			continue
		}
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			d.at(at, "a key must be one word")
			continue
		}
		if before, twice := first[key.Value]; twice {
			d.at(at, "%s is given twice; it stands in line %d already", key.Value, before.line)
			continue
		}
		first[key.Value] = at
		f(key.Value, at, value)
	}
}

func keysOf(t reflect.Type) (keys []string) {
	for f := range t.Fields() {
		if key := f.Tag.Get("key"); key != "" {
			keys = append(keys, key)
		} else if f.Anonymous && f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(f.Type)...)
		}
	}
	return keys
}

func fieldOf(t reflect.Type, key string) (index []int, ok bool) {
	for _, f := range reflect.VisibleFields(t) {
		if key != "" && f.Tag.Get("key") == key {
			return f.Index, true
		}
	}
	return nil, false
}
