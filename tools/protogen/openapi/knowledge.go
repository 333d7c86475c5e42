package openapi

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// knowledge is x-generator in openapi.yaml: what descriptors cannot tell.
type knowledge struct {
	Tags           map[string]string   `yaml:"tags"`
	ReadParameters []string            `yaml:"read_parameters"`
	ReadHeaders    yaml.Node           `yaml:"read_headers"`
	Parameters     []string            `yaml:"parameters"`
	Reads          []string            `yaml:"reads"`
	Required       map[string][]string `yaml:"required"`
	Always         map[string][]string `yaml:"always"`
	Sometimes      map[string][]string `yaml:"sometimes"`
	Texts          map[string]string   `yaml:"texts"`
}

// byHand reads openapi.yaml: the document without what is generated, and x-generator.
func byHand(file string) (*object, *knowledge, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	tree, err := read(&root)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	document, ok := tree.(*object)
	if !ok {
		return nil, nil, fmt.Errorf("%s: it is no mapping", file)
	}
	document.take("x-generator")
	var known struct {
		Generator yaml.Node `yaml:"x-generator"`
	}
	if err := root.Decode(&known); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	section, err := yaml.Marshal(&known.Generator)
	if err != nil {
		return nil, nil, err
	}
	k := &knowledge{}
	d := yaml.NewDecoder(bytes.NewReader(section))
	d.KnownFields(true)
	if err := d.Decode(k); err != nil {
		return nil, nil, fmt.Errorf("%s: x-generator: %w", file, err)
	}
	return document, k, nil
}

// isRead says whether a call takes the headers of reads.
func (k *knowledge) isRead(call string) bool {
	for _, pattern := range k.Reads {
		if prefix, ok := strings.CutSuffix(pattern, "*"); pattern == call || ok && strings.HasPrefix(call, prefix) {
			return true
		}
	}
	return false
}

// rule is one of rest.yaml.
type rule struct {
	Selector string `yaml:"selector"`
	Get      string `yaml:"get"`
	Put      string `yaml:"put"`
	Post     string `yaml:"post"`
	Delete   string `yaml:"delete"`
	Body     string `yaml:"body"`
	More     []rule `yaml:"additional_bindings"`
}

// method returns the method and the path of a rule.
func (r rule) method() (string, string) {
	for method, path := range map[string]string{"get": r.Get, "put": r.Put, "post": r.Post, "delete": r.Delete} {
		if path != "" {
			return method, path
		}
	}
	return "", ""
}

// routes reads rest.yaml.
func routes(file string) ([]rule, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var config struct {
		Type    string `yaml:"type"`
		Version int    `yaml:"config_version"`
		HTTP    struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"http"`
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []rule
	for _, r := range config.HTTP.Rules {
		all = append(all, r)
		for _, more := range r.More {
			more.Selector = r.Selector
			all = append(all, more)
		}
	}
	for _, r := range all {
		if method, _ := r.method(); method == "" || r.Body != "" && r.Body != "*" {
			return nil, fmt.Errorf("%s: %s: only get, put, post and delete, and the body \"*\", are understood", file, r.Selector)
		}
	}
	return all, nil
}
