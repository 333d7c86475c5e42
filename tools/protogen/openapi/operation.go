package openapi

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	base      = "/api/v1"
	inSchemas = "application/json"
)

// variable is one of a path: {name} or {name=**}.
var variable = regexp.MustCompile(`\{(\w+)(=\*\*)?\}`)

// operation adds what a rule of rest.yaml says.
func (g *generator) operation(r rule) {
	m := g.call(r.Selector)
	if m == nil {
		return
	}
	method, template := r.method()
	path, ok := strings.CutPrefix(template, base)
	if !ok {
		g.fail("%s: the path does not begin with %s", r.Selector, base)
		return
	}
	operation := obj()
	g.describe(operation, m, r.Body == "")
	if g.used[operation.values["operationId"].(string)] { // a second way to the same call
		operation.set("operationId", operation.values["operationId"].(string)+"ByQuery")
	}
	g.used[operation.values["operationId"].(string)] = true
	word := path[1:]
	if i := strings.IndexAny(word, "/:"); i >= 0 {
		word = word[:i]
	}
	if g.Tags[word] == "" {
		g.fail("%s: openapi.yaml has no tag for %q", r.Selector, word)
	}
	operation.set("tags", []any{g.Tags[word]})

	var inPath []string
	var parameters []any
	for _, v := range variable.FindAllStringSubmatch(path, -1) {
		fd := m.Input().Fields().ByName(protoreflect.Name(v[1]))
		if fd == nil {
			g.fail("%s: %s has no field %s", r.Selector, m.Input().FullName(), v[1])
			return
		}
		inPath = append(inPath, v[1])
		p := obj("name", v[1], "in", "path", "required", true)
		if text := g.description(fd); text != "" {
			p.set("description", text)
		}
		p.set("schema", g.single(fd))
		parameters = append(parameters, p)
	}
	path = variable.ReplaceAllString(path, "{$1}")
	if r.Body == "" {
		parameters = append(parameters, g.query(m.Input(), inPath)...)
	}
	headers := g.Parameters
	if g.isRead(r.Selector) {
		headers = g.ReadParameters
	}
	for _, h := range headers {
		parameters = append(parameters, obj("$ref", "#/components/parameters/"+h))
	}
	operation.set("parameters", parameters)
	if r.Body != "" {
		name := string(m.Input().Name())
		g.schema(name, g.message(m.Input(), true, inPath...))
		operation.set("requestBody", obj(
			"required", len(g.Required[name]) > 0,
			"content", obj(inSchemas, obj("schema", obj("$ref", schemas+name)))))
	}
	answer := obj("description", "Done.")
	if method == "get" {
		answer.set("description", "The answer.")
	}
	if g.isRead(r.Selector) {
		answer.set("headers", g.headers())
	}
	answer.set("content", obj(inSchemas, obj("schema", g.reference(m.Output()))))
	operation.set("responses", obj("200", answer))
	g.errors(operation)
	g.paths.child(path).set(method, operation)
}

// errors adds the answers of an operation that fails.
func (g *generator) errors(operation *object) {
	responses := operation.child("responses")
	for _, code := range []string{"4XX", "5XX"} {
		responses.set(code, obj("$ref", "#/components/responses/Error"))
	}
}

// describe sets the id and the texts of an operation from those of its call.
func (g *generator) describe(operation *object, m protoreflect.MethodDescriptor, withQuery bool) {
	name := string(m.Name())
	operation.set("operationId", strings.ToLower(name[:1])+name[1:])
	text := sentence(comment(m))
	if text == "" {
		g.fail("%s: the call has no comment in the proto: say there what it does", m.FullName())
		return
	}
	short, long := summary(text)
	operation.set("summary", short)
	if more := sentence(comment(m.Input())); withQuery && more != "" {
		long = strings.TrimSpace(long + "\n\n" + more) // else it stands at the schema of the body
	}
	if long != "" {
		operation.set("description", long)
	}
}

// query returns the fields of a request as query parameters.
func (g *generator) query(m protoreflect.MessageDescriptor, inPath []string) []any {
	var all []any
	for i := range m.Fields().Len() {
		fd := m.Fields().Get(i)
		key := fieldName(fd)
		if slices.Contains(inPath, key) {
			continue
		}
		if object := fd.Message(); object != nil && g.single(fd).values["type"] == nil {
			if fd.IsList() {
				g.fail("%s: a list of objects has no form in a query", fd.FullName())
				continue
			}
			for j := range object.Fields().Len() {
				inner := object.Fields().Get(j)
				all = append(all, g.queryParameter(inner, key+"."+fieldName(inner)))
			}
			continue
		}
		p := g.queryParameter(fd, key)
		if slices.Contains(g.Required[string(m.Name())], key) {
			p.set("required", true)
		}
		all = append(all, p)
	}
	return all
}

func (g *generator) queryParameter(fd protoreflect.FieldDescriptor, name string) *object {
	p := obj("name", name, "in", "query")
	schema := g.field(fd)
	if text := schema.take("description"); text != nil {
		p.set("description", text)
	}
	p.set("schema", schema)
	return p
}

// headers are those of an answer to a read.
func (g *generator) headers() *object {
	all := obj()
	for i := 0; i < len(g.ReadHeaders.Content); i += 2 {
		all.set(g.ReadHeaders.Content[i].Value, obj("$ref", "#/components/headers/"+g.ReadHeaders.Content[i+1].Value))
	}
	return all
}

// byHandOperation completes an operation of openapi.yaml.
func (g *generator) byHandOperation(operation *object) {
	if call, ok := operation.take("x-call").(string); ok {
		m := g.call(call)
		if m == nil {
			return
		}
		rest := obj()
		g.describe(rest, m, true)
		for _, key := range operation.keys {
			rest.set(key, operation.values[key])
		}
		*operation = *rest
		if operation.take("x-parameters") == true {
			given, _ := operation.values["parameters"].([]any)
			operation.set("parameters", append(g.query(m.Input(), nil), given...))
		}
	}
	g.errors(operation)
}
