package openapitest_test

import (
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/internal/openapitest"
)

const document = `{
  "paths": {
    "/things": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Things"}}}}, "4XX": {"$ref": "#/components/responses/Error"}}}},
    "/things/{name}": {"put": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}, "responses": {}}},
    "/things/{id}:renew": {"post": {"responses": {"200": {"content": {}}}}}
  },
  "components": {
    "responses": {"Error": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}},
    "schemas": {
      "Error": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}, "details": {"type": "object", "additionalProperties": true}}},
      "Things": {"type": "object", "required": ["things"], "properties": {"things": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}}},
      "Kind": {"type": "string", "enum": ["big", "small"]},
      "Thing": {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "kind": {"$ref": "#/components/schemas/Kind"}, "time": {"type": "string", "format": "date-time"},
        "small": {"type": "integer", "format": "int32"}, "large": {"type": "integer", "format": "int64"}, "count": {"type": "integer", "minimum": 0},
        "age": {"type": "number"}, "open": {"type": "boolean"}, "bytes": {"type": "string", "contentEncoding": "base64"}, "sum": {"type": "string", "pattern": "^[0-9a-f]+$"},
        "either": {"anyOf": [{"type": "string"}, {"type": "boolean"}]}}}
    }
  }
}`

func TestAnswers(t *testing.T) {
	d, err := openapitest.New([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method, path string
		status             int
		kind, body, wrong  string
	}{
		{"all", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","kind":"big","time":"2026-11-29T02:45:33.5Z","small":-2147483648,"large":9223372036854775807,"count":18446744073709551615,"age":0.5,"open":true,"bytes":"AA==","sum":"0f","either":true}]}`, ""},
		{"none", "GET", "/things", 200, "application/json; charset=utf-8", `{"things":[]}`, ""},
		{"an unknown property", "GET", "/things", 200, "application/json", `{"things":[],"more":1}`, "does not know the property more"},
		{"an unknown property within", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","more":1}]}`, ".things[0]: the document does not know the property more"},
		{"a missing property", "GET", "/things", 200, "application/json", `{"things":[{}]}`, "name is required"},
		{"another enum", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","kind":"huge"}]}`, `"huge" is none of`},
		{"a number as text", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","large":"1"}]}`, "and not integer"},
		{"text as a number", "GET", "/things", 200, "application/json", `{"things":[{"name":1}]}`, "and not string"},
		{"a fraction", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","large":1.5}]}`, "no whole number"},
		{"too large", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","small":4294967296}]}`, "does not fit"},
		{"too small", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","count":-1}]}`, "less than 0"},
		{"no time", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","time":"today"}]}`, "no time"},
		{"a time elsewhere", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","time":"2026-11-29T02:45:33+01:00"}]}`, "in UTC"},
		{"no base64", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","bytes":"-"}]}`, "illegal base64"},
		{"no pattern", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","sum":"x"}]}`, "does not match"},
		{"null", "GET", "/things", 200, "application/json", `{"things":null}`, "and not array"},
		{"neither", "GET", "/things", 200, "application/json", `{"things":[{"name":"a","either":1}]}`, "and not boolean"},
		{"two values", "GET", "/things", 200, "application/json", `{"things":[]}{}`, "behind the value"},
		{"no JSON", "GET", "/things", 200, "text/plain", `things`, "the answer is text/plain"},
		{"an error", "GET", "/things", 404, "application/json", `{"code":"NOT_FOUND","details":{"any":1}}`, ""},
		{"another error", "GET", "/things", 404, "application/json", `{}`, "code is required"},
		{"another status", "GET", "/things", 503, "application/json", `{}`, "no answer with status 503"},
		{"no route", "GET", "/other", 404, "application/json", `{"code":"NOT_FOUND"}`, ""},
		{"no such operation", "GET", "/other", 200, "application/json", `{}`, "no such operation"},
		{"no such method", "DELETE", "/things", 405, "application/json", `{"code":"UNIMPLEMENTED"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := d.Response(test.method, test.path, test.status, test.kind, []byte(test.body))
			switch {
			case test.wrong == "" && err != nil:
				t.Error(err)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("%v, and not %q", err, test.wrong)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	d, err := openapitest.New([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for path, method := range map[string]string{"/things/a": "PUT", "/things/a/b": "PUT", "/things/": "PUT", "/things/a:renew": "POST", "/things": "GET"} {
		if _, ok := d.Find(method, path); !ok {
			t.Errorf("%s %s is not found", method, path)
		}
	}
	for path, method := range map[string]string{"/things/a": "POST", "/things/a/b:renew": "POST", "/things/:renew": "POST", "/thing": "GET"} {
		if _, ok := d.Find(method, path); ok {
			t.Errorf("%s %s is found", method, path)
		}
	}
}

func TestADocumentWithKeywordsThatAreNotLookedAtIsRefused(t *testing.T) {
	_, err := openapitest.New([]byte(`{"components":{"schemas":{"A":{"type":"string","maxLength":3}}}}`))
	if err == nil || !strings.Contains(err.Error(), "maxLength") {
		t.Error(err)
	}
}

func TestVague(t *testing.T) {
	d, err := openapitest.New([]byte(`{"components":{"schemas":{"A":{"type":"object","required":["a"],"properties":{"a":{"type":"boolean"},"always":{"type":"boolean"},"never":{"type":"boolean"},"sometimes":{"type":"boolean"}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"a":true,"always":true}`, `{"a":true,"always":true,"sometimes":true}`} {
		if err := d.Validate("A", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(d.Vague(), "\n")
	if want := "A.always is in all of 2 objects, and is not required\nA.never is in none of 2 objects"; got != want {
		t.Error(got)
	}
}
