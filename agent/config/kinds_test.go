package config

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/lexer"
)

// TestOneBoundAlone has checks with one of two bounds: the other one gives way where its default does not fit.
func TestOneBoundAlone(t *testing.T) {
	for _, entry := range []string{
		"load: {fail: 1}", "load: {warn: 9}", "disk: {path: /, fail_free_percent: 20}", "disk: {path: /, warn_free_percent: 3}", "disk: {path: /, fail_free_bytes: 1GiB}",
		"memory: {warn_free_percent: 0, warn_free_bytes: 1}", "cert: {file: /x, fail_before: 20d}", "cert: {file: /x, warn_before: 1h}",
	} {
		if c := accept(t, check(entry)).Services[0].Checks[0]; validate(c.New()) != nil {
			t.Errorf("%s: %v", entry, validate(c.New()))
		}
	}
}

// TestHTTPCheck runs a check with all settings against a server that answers only what has all of them.
func TestHTTPCheck(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/from":
			http.Redirect(w, r, "/to", http.StatusTemporaryRedirect)
		case r.Method == http.MethodPut && r.Host == "shop.example.com" && r.Header.Get("X-Probe") == "a: b":
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte("all is well"))
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer s.Close()
	const all = "method: PUT, expect: [200, 202], body: is well, headers: {Host: shop.example.com, X-Probe: 'a: b'}, follow_redirects: true"
	for settings, want := range map[string]string{
		all: "",
		strings.Replace(all, "method: PUT, ", "", 1):                   "answered 400",
		strings.Replace(all, "X-Probe: 'a: b'", "X: y", 1):             "answered 400",
		strings.Replace(all, "[200, 202]", "200", 1):                   "answered 202",
		strings.Replace(all, "is well", "is not well", 1):              "without the text",
		strings.Replace(all, "redirects: true", "redirects: false", 1): "answered 307",
	} {
		c := accept(t, check("http: {url: "+s.URL+"/from, "+settings+"}")).Services[0].Checks[0]
		err := c.New().Check(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", settings, err, want)
		}
	}
}

// TestCommandCheck runs a check with its directory, its environment and an empty argument.
func TestCommandCheck(t *testing.T) {
	dir := t.TempDir()
	c := accept(t, check(`command: {run: [sh, -c, 'test "$PWD $A $#" = "`+dir+` b c 2"', x, "", y], dir: `+dir+`, env: {A: b c}}`)).Services[0].Checks[0]
	if err := c.New().Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDeep(t *testing.T) {
	var keys strings.Builder
	for range 2001 {
		keys.WriteString("k: 1\n")
	}
	for text, want := range map[string]bool{
		everyKey:                                           false,
		strings.Repeat("- ", 1000):                         true,
		strings.Repeat("[", 1000):                          true,
		strings.Repeat("{a: ", 1000):                       true,
		strings.Repeat("[]\n", 1000):                       false,
		strings.Repeat("- x\n", 10000):                     false,
		keys.String():                                      true,
		"a:\n" + strings.Repeat("- k: 1\n  l: 2\n", 10000): false,
	} {
		if deep(lexer.Tokenize(text)) != want {
			t.Errorf("%.40q is deep: %t", text, !want)
		}
	}
}
