// Package openapi makes the OpenAPI document of the HTTP API: from the protos the schemas and what their comments say,
// from rest.yaml the paths, and from openapi.yaml what neither can tell. The schemas are those of apijson, which are
// not those of protojson: decision 63.
package openapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

type generator struct {
	*knowledge
	file  protoreflect.FileDescriptor
	paths *object
	made  *object                            // components/schemas
	named map[string]protoreflect.Descriptor // that were referred to
	used  map[string]bool                    // ids of operations
	errs  []error
}

// Document returns the document for the calls of file. restFile is rest.yaml, and handFile openapi.yaml.
func Document(file protoreflect.FileDescriptor, restFile, handFile string) ([]byte, error) {
	document, known, err := byHand(handFile)
	if err != nil {
		return nil, err
	}
	rules, err := routes(restFile)
	if err != nil {
		return nil, err
	}
	g := &generator{
		knowledge: known, file: file, paths: obj(), made: document.child("components").child("schemas"),
		named: map[string]protoreflect.Descriptor{}, used: map[string]bool{},
	}
	for _, r := range rules {
		g.operation(r)
	}
	hand := document.child("paths")
	for _, path := range hand.keys {
		methods := hand.child(path)
		for _, method := range methods.keys {
			operation := methods.child(method)
			g.byHandOperation(operation)
			g.paths.child(path).set(method, operation)
		}
	}
	document.set("paths", g.paths)
	g.complete(document)
	g.check()
	if err := errors.Join(g.errs...); err != nil {
		return nil, err
	}
	return indented(document)
}

func (g *generator) fail(format string, a ...any) { g.errs = append(g.errs, fmt.Errorf(format, a...)) }

// call finds a call by its full name.
func (g *generator) call(name string) protoreflect.MethodDescriptor {
	service, method, _ := strings.Cut(strings.TrimPrefix(name, string(g.file.Package())+"."), ".")
	if s := g.file.Services().ByName(protoreflect.Name(service)); s != nil {
		if m := s.Methods().ByName(protoreflect.Name(method)); m != nil {
			return m
		}
	}
	g.fail("%s: there is no such call", name)
	return nil
}

// schema adds a schema to the document.
func (g *generator) schema(name string, schema *object) {
	if _, ok := g.made.values[name]; ok {
		g.fail("two schemas have the name %s", name)
	}
	g.made.set(name, schema)
}

// complete adds the schemas that the document refers to and does not have, until it has all, in the order of their
// names.
func (g *generator) complete(document *object) {
	for {
		all := map[string]bool{}
		refs(document, all)
		missing := ""
		for ref := range all {
			name, ok := strings.CutPrefix(ref, schemas)
			if _, made := g.made.values[name]; ok && !made && (missing == "" || name < missing) {
				missing = name
			}
		}
		if missing == "" {
			break
		}
		d := g.named[missing]
		if d == nil {
			d = g.file.Messages().ByName(protoreflect.Name(missing)) // only openapi.yaml refers to it
		}
		switch d := d.(type) {
		case protoreflect.EnumDescriptor:
			g.schema(missing, g.enum(d))
		case protoreflect.MessageDescriptor:
			// What only requests have obeys the rules of requests.
			g.schema(missing, g.message(d, g.Required[missing] != nil))
		default:
			g.fail("%s%s: there is no such message", schemas, missing)
			return
		}
	}
	slices.Sort(g.made.keys)
}

// check finds words of openapi.yaml that name nothing any more.
func (g *generator) check() {
	for section, table := range map[string]map[string][]string{"required": g.Required, "always": g.Always, "sometimes": g.Sometimes} {
		for name, fields := range table {
			m := g.file.Messages().ByName(protoreflect.Name(name))
			if m == nil {
				g.fail("openapi.yaml: x-generator.%s: there is no message %s", section, name)
				continue
			}
			for _, field := range fields {
				found := false
				for i := range m.Fields().Len() {
					found = found || fieldName(m.Fields().Get(i)) == field
				}
				if !found {
					g.fail("openapi.yaml: x-generator.%s: %s has no field %s", section, name, field)
				}
			}
		}
	}
}
