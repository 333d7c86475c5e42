package httpapi

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

func TestPushBodies(t *testing.T) {
	const form = "Content-Type: application/x-www-form-urlencoded" // what curl -d says
	const asJSON = "Content-Type: application/json"
	for name, test := range map[string]struct {
		body   string
		header string
		code   int
		said   string // or what the answer has
	}{
		"a word":                       {"SERVING", "", 204, "SERVING"},
		"curl -d":                      {"SERVING", form, 204, "SERVING"},
		"lower case":                   {"not_serving", form, 204, "NOT_SERVING"},
		"unknown":                      {"UNKNOWN", "", 204, "UNKNOWN"},
		"a trailing newline":           {"SERVING\n", "", 204, "SERVING"},
		"a newline of Windows":         {"\r\n SERVING\r\n", "", 204, "SERVING"},
		"a reason":                     {"NOT_SERVING disk full: 99 %", form, 204, "NOT_SERVING disk full: 99 %"},
		"a reason in a second line":    {"NOT_SERVING\ndisk full\nby 1 GB\n", "", 204, "NOT_SERVING disk full\nby 1 GB"},
		"a reason after a tab":         {"NOT_SERVING\tdisk", "", 204, "NOT_SERVING disk"},
		"a reason in UTF-8":            {"NOT_SERVING Платёж 支付", "Content-Type: text/plain; charset=UTF-8", 204, "NOT_SERVING Платёж 支付"},
		"octets":                       {"SERVING", "Content-Type: application/octet-stream", 204, "SERVING"},
		"JSON":                         {`{"status":"NOT_SERVING","reason":"disk full"}`, asJSON, 204, "NOT_SERVING disk full"},
		"JSON without a reason":        {" {\"status\": \"serving\"}\n", asJSON, 204, "SERVING"},
		"JSON by curl -d":              {`{"reason":"é","status":"UNKNOWN"}`, form, 204, "UNKNOWN é"},
		"JSON with escapes":            {`{"status":"\u0053ERVING"}`, "", 204, "SERVING"},
		"the longest reason":           {"NOT_SERVING " + strings.Repeat("x", limits.MaxReasonBytes), "", 204, "NOT_SERVING " + strings.Repeat("x", limits.MaxReasonBytes)},
		"nothing":                      {"", "", 400, "the body is empty; send SERVING, NOT_SERVING or UNKNOWN"},
		"blanks":                       {" \n\t ", form, 400, "the body is empty"},
		"another word":                 {"up", "", 400, `the status is "up"; send SERVING`},
		"a status that is no push":     {"SERVICE_UNKNOWN", "", 400, `the status is "SERVICE_UNKNOWN"`},
		"a longer word":                {"SERVINGS", "", 400, `the status is "SERVINGS"`},
		"a form":                       {"status=SERVING&reason=x", form, 400, "looks like a form; send SERVING"},
		"a number":                     {"1", "", 400, `the status is "1"`},
		"an endless word":              {strings.Repeat("é", 4000), "", 400, "…"},
		"a reason that is too long":    {"NOT_SERVING " + strings.Repeat("x", limits.MaxReasonBytes+1), "", 400, "the reason is 1025 bytes long"},
		"a reason with an escape":      {"NOT_SERVING \x1b[31m", "", 400, "the reason U+001B at byte 1"},
		"no UTF-8":                     {"NOT_SERVING \xff", "", 400, "the body is not UTF-8"},
		"UTF-16":                       {"\xff\xfeS\x00E\x00", "", 400, "the body is not UTF-8"},
		"too large":                    {strings.Repeat(" ", MaxPushBytes) + "x", "", 413, "larger than 8192 bytes"},
		"XML":                          {"<status/>", "Content-Type: application/xml", 415, "application/xml"},
		"a file upload":                {"SERVING", "Content-Type: multipart/form-data; boundary=x", 415, "multipart/form-data"},
		"a broken content type":        {"SERVING", "Content-Type: text/", 415, "use text/plain"},
		"another charset":              {"SERVING", "Content-Type: text/plain; charset=utf-16", 415, "UTF-8"},
		"gzip":                         {"SERVING", "Content-Encoding: gzip", 415, "gzip"},
		"JSON that is a word":          {"SERVING", asJSON, 400, "not a JSON object"},
		"JSON that is a text":          {`"SERVING"`, asJSON, 400, "not a JSON object"},
		"JSON that is a list":          {`[{"status":"SERVING"}]`, asJSON, 400, "not a JSON object"},
		"JSON null":                    {`null`, asJSON, 400, "not a JSON object"},
		"JSON without a status":        {`{"reason":"x"}`, asJSON, 400, `no "status"`},
		"JSON with an unknown key":     {`{"status":"SERVING","since":"now"}`, asJSON, 400, `the key "since"`},
		"JSON with a key in capitals":  {`{"Status":"SERVING"}`, asJSON, 400, `the key "Status"`},
		"JSON with a key twice":        {`{"status":"SERVING","status":"NOT_SERVING"}`, asJSON, 400, `the key "status" twice`},
		"JSON with a number":           {`{"status":1}`, asJSON, 400, `"status" in the JSON must be a text`},
		"JSON with null":               {`{"status":"SERVING","reason":null}`, asJSON, 400, `"reason" in the JSON must be a text`},
		"JSON with an object":          {`{"status":{"status":"SERVING"}}`, asJSON, 400, `"status" in the JSON must be a text`},
		"JSON that is cut off":         {`{"status":"SERVING"`, asJSON, 400, "cut off or broken"},
		"JSON with a comma too many":   {`{"status":"SERVING",}`, asJSON, 400, "cut off or broken"},
		"two JSON objects":             {`{"status":"SERVING"}{"status":"SERVING"}`, asJSON, 400, "something follows"},
		"JSON and rubbish":             {`{"status":"SERVING"} x`, asJSON, 400, "something follows"},
		"JSON with a wrong status":     {`{"status":""}`, asJSON, 400, `the status is ""`},
		"JSON with a reason of blanks": {`{"status":"SERVING","reason":"\u0000"}`, asJSON, 400, "the reason U+0000"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake("shop/cart")
			_, address := serve(t, f, Options{})
			var headers []string
			if test.header != "" {
				headers = append(headers, test.header)
			}
			code, header, body := raw(t, address, request("PUT", "/v1/status/shop/cart", test.body, headers...))
			if code != test.code {
				t.Fatalf("%d %q, want %d", code, body, test.code)
			}
			if code == 204 {
				if got := f.said("shop/cart"); got != test.said || body != "" {
					t.Errorf("pushed %q, body %q", got, body)
				}
				return
			}
			if f.said("shop/cart") != "" || !strings.Contains(body, test.said) || strings.Count(body, "\n") != 1 || !utf8.ValidString(body) {
				t.Errorf("pushed %q; the answer is %q", f.said("shop/cart"), body)
			}
			if kind := header.Get("Content-Type"); kind != "text/plain; charset=utf-8" || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v", header)
			}
		})
	}
}

func TestPushIsRefused(t *testing.T) {
	f := newFake("shop/cart", "db", "a b", "end/")
	f.fixed["db"] = true
	_, address := serve(t, f, Options{})
	for _, test := range []struct {
		method, target string
		code           int
		has            string
	}{
		{"PUT", "/v1/status/", 404, "names no service"},
		{"PUT", "/v1/status", 404, "names no service"},
		{"PUT", "/v1/status?service=", 404, "names no service"},
		{"PUT", "/v1/status/pay", 404, `does not watch "pay"`},
		{"PUT", "/v1/status/shop/cart/10.0.0.7:8080", 404, `what it reports of "shop/cart"; name the service without its instance`},
		{"PUT", "/v1/status/shop/cart/", 404, `it watches "shop/cart"`},
		{"PUT", "/v1/status//shop/cart", 404, `does not watch "/shop/cart"`},
		{"PUT", "/v1/status/SHOP/cart", 404, "does not watch"},
		{"PUT", "/v1/status/%ff%0a", 404, `does not watch "\xff\n"`},
		{"PUT", "/v1/status/" + strings.Repeat("x", 9000), 404, "…"},
		{"PUT", "/v1/status/db", 403, `takes no push for "db"`},
		{"PUT", "/v1/status/shop/cart?status=SERVING", 400, "send the status as the body"},
		{"PUT", "/v1/status/shop/cart?x", 400, "a ? in a name is written as %3F"},
		{"PUT", "/v1/status/shop/cart?service=shop/cart", 400, "name it once"},
		{"PUT", "/v1/status?service=a&service=b", 400, "more than once"},
		{"PUT", "/v1/status/shop/cart?format=json", 400, "not known"},
		{"PUT", "/v1/status/shop/cart?%zz", 400, "the query cannot be read"},
		{"PUT", "/v1/statusshop/cart", 404, "there is nothing here"},
		{"PUT", "/V1/status/shop/cart", 404, "there is nothing here"},
		{"PUT", "/", 405, "use GET or HEAD"},
		{"PUT", "/readyz/shop/cart", 405, "use GET or HEAD"},
		{"POST", "/v1/status/shop/cart", 405, "curl -X PUT -d SERVING http://localhost:7612/v1/status/NAME"},
		{"DELETE", "/v1/status/pay", 404, "does not watch"},
		{"DELETE", "/readyz/shop/cart", 405, "use GET or HEAD"},
		{"PATCH", "/v1/status/shop/cart", 405, "use PUT"},
		{"OPTIONS", "/v1/status/shop/cart", 405, "use PUT"},
		{"BREW", "/v1/status/shop/cart", 405, "use PUT"},
		{"POST", "/metrics", 405, "use GET or HEAD"},
	} {
		code, header, body := raw(t, address, request(test.method, test.target, "SERVING"))
		if code != test.code || !strings.Contains(body, test.has) {
			t.Errorf("%s %.80s: %d %q, want %d with %q", test.method, test.target, code, body, test.code, test.has)
		}
		if allow := header.Get("Allow"); code == 405 && allow != "DELETE, GET, HEAD, PUT" && allow != "GET, HEAD" {
			t.Errorf("%s %s allows %q", test.method, test.target, allow)
		}
	}
	if f.pushes != 0 {
		t.Errorf("%d pushes were taken", f.pushes)
	}
	f.ended = true
	if code, _, body := raw(t, address, request("PUT", "/v1/status/a%20b", "SERVING")); code != 503 || !strings.Contains(body, "stopping") {
		t.Errorf("%d %q", code, body)
	}
}

func TestPushIsTakenBack(t *testing.T) {
	f := newFake("a")
	_, address := serve(t, f, Options{})
	raw(t, address, request("PUT", "/v1/status/a", "NOT_SERVING"))
	if code, _, body := raw(t, address, request("DELETE", "/v1/status/a", "", "Origin: http://evil.example")); code != 403 || f.said("a") == "" {
		t.Errorf("by a page of another origin: %d %q", code, body)
	}
	if code, _, body := raw(t, address, request("DELETE", "/v1/status/a", "")); code != 204 || f.said("a") != "" {
		t.Errorf("%d %q", code, body)
	}
}

// odd are names that are cleaned, decoded or cut by what handles paths elsewhere.
var odd = []string{
	"shop/cart", "/", "//", ".", "..", "../..", "a/../b", "a/./b", "a//b", "/a", "a/", "a%2Fb", "100%", "%", "a+b", "a?b", "?", "a#b", "a;b", "a&b",
	"a:b@c", `"a"`, "<a>", `a\b`, "платежи/касса", "支付", "status", "v1/status/a", "readyz", "10.0.0.1:80", "[::1]:80", "~", "'", "|",
}

// TestOddNames: each name reaches its service however it is written.
func TestOddNames(t *testing.T) {
	f := newFake(odd...)
	_, address := serve(t, f, Options{})
	for i, name := range odd {
		if err := limits.Name(name); err != nil {
			t.Errorf("%q is no name: %v", name, err)
		}
		bytes := ""
		for _, b := range []byte(name) {
			bytes += "%" + string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15])
		}
		for j, target := range []string{
			"/v1/status/" + url.PathEscape(name), // "/" as %2F
			(&url.URL{Path: "/v1/status/" + name}).EscapedPath(),
			"/v1/status/" + bytes,
			"/v1/status?service=" + url.QueryEscape(name),
		} {
			reason := strings.Repeat("x", 1+i*10+j)
			if code, header, body := raw(t, address, request("PUT", target, "SERVING "+reason)); code != 204 || f.said(name) != "SERVING "+reason {
				t.Errorf("%q by %s: %d %v %q", name, target, code, header, body)
			}
			ready := strings.Replace(target, "/v1/status", "/readyz", 1)
			if code, _, body := raw(t, address, request("GET", ready, "")); code != 200 || body != "SERVING\n" {
				t.Errorf("GET %s: %d %q", ready, code, body)
			}
		}
	}
	if f.pushes != 4*len(odd) {
		t.Errorf("%d pushes", f.pushes)
	}
}

func FuzzDecodePush(f *testing.F) {
	for _, body := range []string{"SERVING", "not_serving disk", `{"status":"UNKNOWN","reason":"x"}`, `{"status":`, "\xff", "{}", " "} {
		f.Add([]byte(body), true)
		f.Add([]byte(body), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		st, reason, err := decodePush(body, asJSON)
		if err != nil {
			if text := err.Error(); text == "" || strings.ContainsAny(text, "\n\r\x00") || !utf8.ValidString(text) || len(text) > 1000 {
				t.Errorf("the error is %q", text)
			}
			return
		}
		if st != client.Serving && st != client.NotServing && st != client.Unknown {
			t.Errorf("the status is %v", st)
		}
		if err := limits.Reason(reason); err != nil {
			t.Errorf("the reason is %q: %v", reason, err)
		}
	})
}
