package httpapi

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCurl is what people type.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl")
	}
	f := newFake("shop/cart", "a b/../c", "x/../y", "z")
	_, address := serve(t, f, Options{})
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "http://" + address
	for _, test := range []struct {
		args  []string
		stdin string
		want  string // the status, and what the body has
		name  string
		said  string
	}{
		{[]string{"-X", "PUT", "-d", "SERVING", at + "/v1/status/shop/cart"}, "", "204", "shop/cart", "SERVING"},
		{[]string{"-X", "PUT", "-d", "NOT_SERVING disk full", at + "/v1/status/shop/cart"}, "", "204", "shop/cart", "NOT_SERVING disk full"},
		{[]string{"-X", "PUT", "-d", `{"status":"SERVING"}`, at + "/v1/status/shop%2Fcart"}, "", "204", "shop/cart", "SERVING"},
		{[]string{"-X", "PUT", "--json", `{"status":"UNKNOWN","reason":"why"}`, at + "/v1/status/shop/cart"}, "", "204", "shop/cart", "UNKNOWN why"},
		{[]string{"-T", "-", at + "/v1/status/shop/cart"}, "SERVING\n", "204", "shop/cart", "SERVING"}, // chunked
		{[]string{"-X", "PUT", "--data-binary", "@-", at + "/v1/status/shop/cart"}, "NOT_SERVING\nof two\nlines\n", "204", "shop/cart", "NOT_SERVING of two\nlines"},
		{[]string{"--path-as-is", "-X", "PUT", "-d", "SERVING", at + "/v1/status/x/../y"}, "", "204", "x/../y", "SERVING"},
		{[]string{"-X", "PUT", "-d", "UNKNOWN", at + "/v1/status?service=x/../y"}, "", "204", "x/../y", "UNKNOWN"},
		{[]string{"-X", "PUT", "-d", "SERVING", at + "/v1/status?service=a%20b/../c"}, "", "204", "a b/../c", "SERVING"},
		{[]string{"-d", "SERVING", at + "/v1/status/z"}, "", "405 use PUT to say a status: curl -X PUT -d SERVING " + at, "z", ""},
		{[]string{"-T", large, at + "/v1/status/z"}, "", "413 larger than", "z", ""},
		{[]string{"-T", "-", "-H", "Expect:", at + "/v1/status/z"}, strings.Repeat("x", 1<<20), "413 larger than", "z", ""},
		{[]string{"-X", "PUT", at + "/v1/status/z"}, "", "400 the body is empty", "z", ""},
		{[]string{"-X", "PUT", "--data-urlencode", "status=SERVING", at + "/v1/status/z"}, "", "400 looks like a form", "z", ""},
		{[]string{"-X", "PUT", "-F", "status=SERVING", at + "/v1/status/z"}, "", "415 multipart/form-data", "z", ""},
		{[]string{"-X", "PUT", "-d", "SERVING", "-H", "Origin: https://evil.example", at + "/v1/status/z"}, "", "403 another origin", "z", ""},
		{[]string{"-X", "PUT", "-d", "SERVING", "-H", "Host: evil.example", at + "/v1/status/z"}, "", "421 evil.example", "z", ""},
		{[]string{at + "/readyz/z"}, "", "503 UNKNOWN", "z", ""},
		{[]string{"-I", at + "/readyz/z"}, "", "503", "z", ""},
		{[]string{"--http1.0", at + "/v1/status/shop/cart"}, "", "200 shop/cart: NOT_SERVING", "z", ""},
	} {
		cmd := exec.Command(curl, append([]string{"-sS", "-w", "\n%{http_code}", "--max-time", "60"}, test.args...)...)
		cmd.Stdin = strings.NewReader(test.stdin)
		cmd.Env = []string{"HOME=" + t.TempDir()} // no proxy
		out, err := cmd.CombinedOutput()
		body, code := string(out), ""
		if i := strings.LastIndexByte(body, '\n'); i >= 0 {
			body, code = body[:i], body[i+1:]
		}
		wantCode, has, _ := strings.Cut(test.want, " ")
		if err != nil || code != wantCode || !strings.Contains(body, has) {
			t.Errorf("curl %q: %v, %s %q, want %s", test.args, err, code, body, test.want)
		}
		if got := f.said(test.name); got != test.said {
			t.Errorf("curl %q: %q was pushed, want %q", test.args, got, test.said)
		}
	}
}
