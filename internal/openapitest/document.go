package openapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"sync"
)

// Document is an OpenAPI document, as far as answers can be compared with it.
type Document struct {
	Paths      map[string]map[string]*Operation `json:"paths"`
	Components struct {
		Schemas   map[string]*schema   `json:"schemas"`
		Responses map[string]*response `json:"responses"`
	} `json:"components"`

	mu   sync.Mutex
	seen map[string]*counts // by schema and property: "Event.type"
}

// Operation is one method of a path.
type Operation struct {
	ID         string      `json:"operationId"`
	Parameters []Parameter `json:"parameters"`
	Body       *struct {
		Content map[string]media `json:"content"`
	} `json:"requestBody"`
	Responses map[string]*response `json:"responses"`
}

// Parameter is one of an operation. Those that the document shares have only Ref.
type Parameter struct {
	Ref      string  `json:"$ref"`
	Name     string  `json:"name"`
	In       string  `json:"in"`
	Required bool    `json:"required"`
	Schema   *schema `json:"schema"`
}

type media struct {
	Schema *schema `json:"schema"`
}

type response struct {
	Ref     string           `json:"$ref"`
	Content map[string]media `json:"content"`
}

// New reads a document.
func New(data []byte) (*Document, error) {
	d := &Document{seen: map[string]*counts{}}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, err
	}
	// A keyword of a schema that is not looked at would be a promise that nothing holds.
	var strict struct {
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &strict); err != nil {
		return nil, err
	}
	for name, raw := range strict.Components.Schemas {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&schema{}); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
	}
	return d, nil
}

// Find returns the operation of a request, by its path below /api/v1, as it stands in the request: escaped.
func (d *Document) Find(method, path string) (*Operation, bool) {
	for template, methods := range d.Paths {
		if o, ok := methods[strings.ToLower(method)]; ok && matches(template, path) {
			return o, true
		}
	}
	return nil, false
}

// matches says whether a path is one of a template. A variable that ends the template takes the rest: slashes too, and
// nothing at all, which is an error of that operation.
func matches(template, path string) bool {
	before, rest, ok := strings.Cut(template, "{")
	if !ok {
		return template == path
	}
	_, after, _ := strings.Cut(rest, "}")
	middle, ok := strings.CutPrefix(path, before)
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, after)
	return ok && (after == "" || middle != "" && !strings.Contains(middle, "/"))
}

// Response compares the answer to a request with the document: its status, its type, its JSON.
func (d *Document) Response(method, path string, status int, contentType string, body []byte) error {
	r, err := d.response(method, path, status)
	if err != nil {
		return err
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("%s %s: %d: Content-Type %q: %w", method, path, status, contentType, err)
	}
	m, ok := r.Content[kind]
	if !ok {
		return fmt.Errorf("%s %s: %d: the answer is %s, and may be %q", method, path, status, kind, slices.Sorted(maps.Keys(r.Content)))
	}
	if kind != "application/json" {
		return nil
	}
	if err := d.validate(m.Schema, body, ""); err != nil {
		return fmt.Errorf("%s %s: %d: %w\n%s", method, path, status, err, body)
	}
	return nil
}

func (d *Document) response(method, path string, status int) (*response, error) {
	var r *response
	o, ok := d.Find(method, path)
	switch {
	case ok:
		for _, key := range []string{fmt.Sprint(status), fmt.Sprintf("%dXX", status/100)} {
			if r = o.Responses[key]; r != nil {
				break
			}
		}
	case status == 404 || status == 405:
		r = d.Components.Responses["Error"]
	default:
		return nil, fmt.Errorf("%s %s: the document has no such operation", method, path)
	}
	if r == nil {
		return nil, fmt.Errorf("%s %s: the document has no answer with status %d", method, path, status)
	}
	if r.Ref != "" {
		r = d.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
	}
	return r, nil
}

// Request compares the JSON of a request's body with the document.
func (d *Document) Request(method, path string, body []byte) error {
	o, ok := d.Find(method, path)
	if !ok || o.Body == nil {
		return fmt.Errorf("%s %s: the document has no such operation with a body", method, path)
	}
	return d.validate(o.Body.Content["application/json"].Schema, body, "")
}
