package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// How many bytes all files of the page may have: as they are sent to a browser, which is what the page is held to, and as
// they are, so that growth is seen.
const (
	maxSent = 40 << 10
	maxPage = 92 << 10
)

func ask(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPageIsSmall(t *testing.T) {
	all, sent := 0, 0
	for name, a := range read() {
		if a.mediaType == "" {
			t.Errorf("%s has a type that the page is not served with", name)
		}
		all += len(a.plain)
		sent += len(a.zipped)
	}
	if all > maxPage || sent > maxSent {
		t.Errorf("the page has %d bytes and is sent as %d; it may have %d and %d", all, sent, maxPage, maxSent)
	}
	t.Logf("%d bytes, sent as %d", all, sent)
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		method, target string
		code           int
		mediaType      string
		allow          string
	}{
		{"GET", "/ui/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/ui/service?name=shop%2Fcart", 200, "text/html; charset=utf-8", ""},
		{"GET", "/ui/events", 200, "text/html; charset=utf-8", ""},
		{"GET", "/ui/cluster", 200, "text/html; charset=utf-8", ""},
		{"GET", "/ui/access", 200, "text/html; charset=utf-8", ""},
		{"HEAD", "/ui/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/ui/app.js", 200, "text/javascript; charset=utf-8", ""},
		{"GET", "/ui/app.css", 200, "text/css; charset=utf-8", ""},
		{"GET", "/ui/icon.svg", 200, "image/svg+xml", ""},
		{"GET", "/ui", 308, "text/html; charset=utf-8", ""},
		{"GET", "/ui/index.html", 404, "text/plain; charset=utf-8", ""},
		{"GET", "/ui/nothing", 404, "text/plain; charset=utf-8", ""},
		{"GET", "/ui/service/", 404, "text/plain; charset=utf-8", ""},
		{"GET", "/ui/../web.go", 404, "text/plain; charset=utf-8", ""},
		{"GET", "/ui/dist/app.js", 404, "text/plain; charset=utf-8", ""},
		{"POST", "/ui/", 405, "text/plain; charset=utf-8", "GET, HEAD"},
	} {
		res := ask(t, tc.method, tc.target)
		if res.StatusCode != tc.code || res.Header.Get("Content-Type") != tc.mediaType || res.Header.Get("Allow") != tc.allow {
			t.Errorf("%s %s: %d %v", tc.method, tc.target, res.StatusCode, res.Header)
		}
		if got := body(t, res.Body); tc.method == "HEAD" && len(got) > 0 {
			t.Errorf("%s %s: a body of %d bytes", tc.method, tc.target, len(got))
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": contentSecurityPolicy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q", tc.method, tc.target, name, got)
			}
		}
	}
}

func TestPageHasNothingInline(t *testing.T) {
	html := string(read()["index.html"].plain)
	for _, inline := range []string{"<style", " style=", " onload=", "<script>", "javascript:"} {
		if strings.Contains(html, inline) {
			t.Errorf("index.html holds %q, which its own policy forbids", inline)
		}
	}
	script := string(read()["app.js"].plain)
	for _, raw := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"} {
		if strings.Contains(script, raw) {
			t.Errorf("app.js holds %q: text must never become HTML or code", raw)
		}
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	for _, coding := range []string{"", "gzip"} {
		res := ask(t, "GET", "/ui/app.js", "Accept-Encoding", coding)
		tag := res.Header.Get("ETag")
		if tag == "" || res.Header.Get("Cache-Control") != "no-cache" || res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v", coding, res.Header)
		}
		for _, known := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			if res := ask(t, "GET", "/ui/app.js", "Accept-Encoding", coding, "If-None-Match", known); res.StatusCode != http.StatusNotModified || len(body(t, res.Body)) > 0 {
				t.Errorf("%q, %s: %d", coding, known, res.StatusCode)
			}
		}
		if res := ask(t, "GET", "/ui/app.js", "Accept-Encoding", coding, "If-None-Match", `"other"`); res.StatusCode != http.StatusOK {
			t.Errorf("%q, another tag: %d", coding, res.StatusCode)
		}
	}
	if ask(t, "GET", "/ui/app.js").Header.Get("ETag") == ask(t, "GET", "/ui/app.js", "Accept-Encoding", "gzip").Header.Get("ETag") {
		t.Error("two forms of a file have one tag")
	}
}

func TestFilesAreCompressedForWhoTakesIt(t *testing.T) {
	plain := body(t, ask(t, "GET", "/ui/app.js").Body)
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "deflate": false, "x-gzip-like": false, "gzip; q=x": false,
	} {
		res := ask(t, "GET", "/ui/app.js", "Accept-Encoding", accept)
		got := body(t, res.Body)
		if zipped := res.Header.Get("Content-Encoding") == "gzip"; zipped != want {
			t.Errorf("%q: gzip is %v", accept, zipped)
		} else if zipped {
			r, err := gzip.NewReader(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			got = body(t, r)
		}
		if !bytes.Equal(got, plain) {
			t.Errorf("%q: another text", accept)
		}
	}
}

func TestWithoutThePageOneIsToldHowToGetIt(t *testing.T) {
	w := httptest.NewRecorder()
	Off().ServeHTTP(w, httptest.NewRequest("GET", "/ui/", nil))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "--web") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
