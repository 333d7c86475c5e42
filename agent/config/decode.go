package config

import (
	"errors"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// This file puts a document into the structs of schema.go. The YAML library reads the text; its own decoder is not
// used, because it gives values of our types no place, and speaks of Go's types.

// document reads the text of a file, which must be one document.
func document(text []byte) (node ast.Node, err error) {
	defer func() {
		if recover() != nil { // a defect of the library; the text comes from outside
			node, err = nil, &Error{Text: "this is not YAML that can be read"}
		}
	}()
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		var at yaml.Error
		if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
			return nil, &Error{Text: "this is not YAML: " + firstLine(err.Error())}
		}
		p := at.GetToken().Position
		return nil, place{p.Line, p.Column}.errorf("%s", firstLine(at.GetMessage()))
	}
	for _, d := range file.Docs {
		switch {
		case d.Body == nil, d.Body.Type() == ast.NullType, d.Body.Type() == ast.CommentType:
			if d.Start != nil && node != nil {
				p := d.Start.Position
				return nil, place{p.Line, p.Column}.errorf("a second document begins here; a file has one")
			}
		case node != nil:
			return nil, placeOf(d.Body).errorf("a second document begins here; a file has one")
		default:
			node = d.Body
		}
	}
	if node == nil {
		return nil, &Error{Text: "the file is empty"}
	}
	return node, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func placeOf(n ast.Node) place {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return place{}
	}
	p := n.GetToken().Position
	switch m := n.(type) { // its own token is the colon after its first key
	case *ast.MappingNode:
		if len(m.Values) > 0 && m.Start.Value != "{" {
			return placeOf(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(m.Key)
	}
	return place{p.Line, p.Column}
}

// leaf takes a value that is no mapping and no list.
type leaf interface {
	take(n ast.Node, key string) error
}

// aliasLimit bounds what aliases of aliases can make of a short text.
const aliasLimit = 100_000

type decoder struct {
	anchors map[string]ast.Node
	aliases int
}

func newDecoder() *decoder { return &decoder{anchors: map[string]ast.Node{}} }

// resolve returns the value that an anchor or an alias stands for.
func (d *decoder) resolve(n ast.Node) (ast.Node, error) {
	for {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
			d.anchors[v.Name.GetToken().Value] = n
		case *ast.AliasNode:
			name := v.Value.GetToken().Value
			to, ok := d.anchors[name]
			if !ok {
				return nil, placeOf(v).errorf("*%s names no anchor that stands before it", name)
			}
			if d.aliases++; d.aliases > aliasLimit {
				return nil, placeOf(v).errorf("there are too many aliases")
			}
			n = to
		case *ast.TagNode:
			return nil, placeOf(v).errorf("tags as %s are not used here", v.GetToken().Value)
		default:
			return n, nil
		}
	}
}

// decode puts a node into a value. key is the node's name in messages.
func (d *decoder) decode(n ast.Node, to reflect.Value, key string) error {
	n, err := d.resolve(n)
	if err != nil {
		return err
	}
	if l, ok := to.Addr().Interface().(leaf); ok {
		return l.take(n, key)
	}
	if p, ok := to.Addr().Interface().(*pairs); ok {
		return d.pairs(n, p, key)
	}
	switch to.Kind() {
	case reflect.Pointer:
		v := reflect.New(to.Type().Elem())
		if err := d.decode(n, v.Elem(), key); err != nil {
			return err
		}
		to.Set(v)
		return nil
	case reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			return placeOf(n).errorf("%s must be a list, as %s: [A, B]", key, key)
		}
		for _, item := range list.Values {
			v := reflect.New(to.Type().Elem()).Elem()
			if err := d.decode(item, v, "an entry of "+key); err != nil {
				return err
			}
			to.Set(reflect.Append(to, v))
		}
		return nil
	}
	return d.mapping(n, to, key)
}

// mapping puts a mapping into a struct, whose fields have their keys as tags.
func (d *decoder) mapping(n ast.Node, to reflect.Value, key string) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return placeOf(n).errorf("%s must have keys and values: %s", key, oneOf(keysOf(to.Type())))
	}
	if v, ok := to.Addr().Interface().(interface{ setPlace(place) }); ok {
		v.setPlace(placeOf(n))
	}
	seen := map[string]bool{}
	for i := m.MapRange(); i.Next(); {
		name := i.Key().GetToken().Value
		if _, plain := i.Key().(ast.ScalarNode); !plain || i.Key().IsMergeKey() {
			return placeOf(i.Key()).errorf("a key must be one word, one of %s", oneOf(keysOf(to.Type())))
		}
		index, ok := fieldOf(to.Type(), name)
		switch {
		case !ok:
			return placeOf(i.Key()).errorf("unknown key %q; here stand %s", name, oneOf(keysOf(to.Type())))
		case seen[name]:
			return placeOf(i.Key()).errorf("%s is given twice", name)
		}
		seen[name] = true
		v, err := d.resolve(i.Value())
		if err != nil {
			return err
		}
		if v == nil || v.Type() == ast.NullType {
			return placeOf(i.Key()).errorf("%s has no value; give it one, or leave the key out", name)
		}
		if err := d.decode(v, to.FieldByIndex(index), name); err != nil {
			return err
		}
	}
	return nil
}

// pairs takes a mapping whose keys are the author's own.
func (d *decoder) pairs(n ast.Node, to *pairs, key string) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return placeOf(n).errorf("%s must have names and values, as %s: {NAME: VALUE}", key, key)
	}
	for i := m.MapRange(); i.Next(); {
		if _, plain := i.Key().(ast.ScalarNode); !plain || i.Key().IsMergeKey() {
			return placeOf(i.Key()).errorf("a name in %s must be one word", key)
		}
		p := pair{name: i.Key().GetToken().Value, place: placeOf(i.Key())}
		v, err := d.resolve(i.Value())
		if err != nil {
			return err
		}
		if err := p.value.take(v, p.name); err != nil {
			return err
		}
		for _, before := range *to {
			if before.name == p.name {
				return p.place.errorf("%s is given twice", p.name)
			}
		}
		*to = append(*to, p)
	}
	return nil
}

func keysOf(t reflect.Type) (keys []string) {
	for f := range t.Fields() {
		if key := f.Tag.Get("key"); key != "" {
			keys = append(keys, key)
		} else if f.Anonymous {
			keys = append(keys, keysOf(f.Type)...)
		}
	}
	return keys
}

func fieldOf(t reflect.Type, key string) (index []int, ok bool) {
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("key") == key {
			return f.Index, true
		}
	}
	return nil, false
}
