package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	restv1 "github.com/rollcallhq/rollcall/api/rollcall/rest/v1"
	"github.com/rollcallhq/rollcall/internal/openapitest"
)

var openAPI = sync.OnceValues(func() (*openapitest.Document, error) { return openapitest.New(restv1.Document) })

// described compares an answer with the OpenAPI document.
func described(t testing.TB, method, path string, res *http.Response, body []byte) {
	t.Helper()
	below, ok := strings.CutPrefix(path, "/api/v1")
	if !ok || method == http.MethodHead || method == http.MethodOptions || res.StatusCode == http.StatusNotModified {
		return // they have no body
	}
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	below, _, _ = strings.Cut(below, "?")
	if err := d.Response(method, below, res.StatusCode, res.Header.Get("Content-Type"), body); err != nil {
		t.Errorf("the OpenAPI document: %v", err)
	}
}
