package openapitest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// schema is a schema of the document: the part of JSON Schema 2020-12 that the document uses. Any other keyword is an
// error when the document is read.
type schema struct {
	Ref             string             `json:"$ref"`
	Type            string             `json:"type"`
	Description     string             `json:"description"`
	Properties      map[string]*schema `json:"properties"`
	Required        []string           `json:"required"`
	Open            *bool              `json:"additionalProperties"` // true: any other property, too
	Items           *schema            `json:"items"`
	Enum            []string           `json:"enum"`
	Format          string             `json:"format"`
	Minimum         *int64             `json:"minimum"`
	Pattern         string             `json:"pattern"`
	ContentEncoding string             `json:"contentEncoding"`
	AnyOf           []*schema          `json:"anyOf"`
}

// Validate compares JSON with one of the document's schemas.
func (d *Document) Validate(name string, data []byte) error {
	s, ok := d.Components.Schemas[name]
	if !ok {
		return fmt.Errorf("the document has no schema %s", name)
	}
	return d.validate(s, data, name)
}

// validate compares JSON with s, whose name is "" if it has none of its own.
func (d *Document) validate(s *schema, data []byte, name string) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the value")
	}
	return errors.Join(d.check(s, value, "", name)...)
}

// check returns what is wrong with a value; at says where it is, in the schema name.
func (d *Document) check(s *schema, value any, at, name string) []error {
	for s.Ref != "" {
		name = strings.TrimPrefix(s.Ref, "#/components/schemas/")
		target, ok := d.Components.Schemas[name]
		if !ok {
			return []error{fmt.Errorf("%s: the document has no %s", at, s.Ref)}
		}
		s = target
	}
	wrong := func(format string, a ...any) []error {
		return []error{fmt.Errorf("%s: %s", at, fmt.Sprintf(format, a...))}
	}
	if s.AnyOf != nil {
		var all []error
		for _, one := range s.AnyOf {
			errs := d.check(one, value, at, name)
			if errs == nil {
				return nil
			}
			all = append(all, errs...)
		}
		return all
	}
	switch value := value.(type) {
	case map[string]any:
		if s.Type != "object" {
			return wrong("an object, and not %s", s.Type)
		}
		return d.checkObject(s, value, at, name)
	case []any:
		if s.Type != "array" {
			return wrong("a list, and not %s", s.Type)
		}
		var errs []error
		for i, element := range value {
			errs = append(errs, d.check(s.Items, element, fmt.Sprintf("%s[%d]", at, i), name)...)
		}
		return errs
	case string:
		if s.Type != "string" {
			return wrong("the text %q, and not %s", value, s.Type)
		}
		if err := s.checkText(value); err != nil {
			return wrong("%v", err)
		}
	case bool:
		if s.Type != "boolean" {
			return wrong("%v, and not %s", value, s.Type)
		}
	case json.Number:
		if err := s.checkNumber(value.String()); err != nil {
			return wrong("%v", err)
		}
	default:
		return wrong("%v, and not %s", value, s.Type)
	}
	return nil
}

func (d *Document) checkObject(s *schema, value map[string]any, at, name string) []error {
	var errs []error
	d.note(name, s, value)
	for _, key := range s.Required {
		if _, ok := value[key]; !ok {
			errs = append(errs, fmt.Errorf("%s: %s is required, and is not there", at, key))
		}
	}
	for key, member := range value {
		property, ok := s.Properties[key]
		switch {
		case ok:
			errs = append(errs, d.check(property, member, at+"."+key, name)...)
		case s.Open == nil || !*s.Open:
			errs = append(errs, fmt.Errorf("%s: the document does not know the property %s", at, key))
		}
	}
	return errs
}

func (s *schema) checkText(value string) error {
	if s.Enum != nil && !slices.Contains(s.Enum, value) {
		return fmt.Errorf("%q is none of %q", value, s.Enum)
	}
	if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(value) {
		return fmt.Errorf("%q does not match %s", value, s.Pattern)
	}
	switch s.Format {
	case "":
	case "date-time":
		if t, err := time.Parse(time.RFC3339Nano, value); err != nil || t.Location() != time.UTC {
			return fmt.Errorf("%q is no time of RFC 3339 in UTC", value)
		}
	default:
		return fmt.Errorf("the format %s is not known here", s.Format)
	}
	if s.ContentEncoding != "" {
		if s.ContentEncoding != "base64" {
			return fmt.Errorf("the encoding %s is not known here", s.ContentEncoding)
		}
		if _, err := base64.StdEncoding.DecodeString(value); err != nil {
			return err
		}
	}
	return nil
}

func (s *schema) checkNumber(value string) error {
	if s.Type == "number" {
		return nil
	}
	if s.Type != "integer" {
		return fmt.Errorf("%s, and not %s", value, s.Type)
	}
	n, ok := new(big.Int).SetString(value, 10)
	if !ok {
		return fmt.Errorf("%s is no whole number", value)
	}
	bits := map[string]int{"int32": 31, "int64": 63, "": 64}[s.Format]
	if bits == 0 {
		return fmt.Errorf("the format %s is not known here", s.Format)
	}
	size := n
	if n.Sign() < 0 {
		size = new(big.Int).Not(n) // the least number has no positive one of its bits
	}
	if size.BitLen() > bits {
		return fmt.Errorf("%s does not fit into %s", value, s.Format)
	}
	if s.Minimum != nil && n.Cmp(big.NewInt(*s.Minimum)) < 0 {
		return fmt.Errorf("%s is less than %d", value, *s.Minimum)
	}
	return nil
}
