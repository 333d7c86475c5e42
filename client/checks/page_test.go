package checks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// get asks the page.
func (f *fixture) get(method, query string, accept ...string) (*http.Response, string) {
	f.t.Helper()
	req := httptest.NewRequest(method, "/any/path"+query, nil)
	for _, a := range accept {
		req.Header.Add("Accept", a)
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, req)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return w.Result(), string(body)
}

// withPage runs do with a page of three services, at 2000-01-01T00:00:25Z.
func withPage(t *testing.T, do func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		never := make(chan struct{})
		defer close(never)
		f.add("", newProbe("a", nil))
		f.add("shop/cart", newProbe("db", slow(2*time.Millisecond, errors.New("dial\n\x1b[31m<b>tcp</b>"))))
		f.add("shop/cart", newProbe("disk", results(Degraded(errors.New("93 % full")))), Interval(20*s), NonCritical())
		f.add("shop/pay", newProbe("queue", func(context.Context) error { <-never; return nil }), Timeout(time.Minute))
		f.add("shop/pay", newProbe("stuck", func(context.Context) error { <-never; return nil }), NonCritical(), Timeout(7*s))
		f.start()
		pass(25 * s)
		do(t, f)
	})
}

func TestPageJSON(t *testing.T) {
	withPage(t, func(t *testing.T, f *fixture) {
		resp, body := f.get("GET", "?format=json")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		want := `{
  "time": "2000-01-01T00:00:25Z",
  "running": true,
  "services": [
    {
      "service": "",
      "status": "SERVING",
      "since": "2000-01-01T00:00:00Z",
      "reasons": [],
      "warnings": [],
      "checks": [
        {
          "check": "a",
          "critical": true,
          "status": "SERVING",
          "since": "2000-01-01T00:00:00Z",
          "error": "",
          "degraded": false,
          "last_run": "2000-01-01T00:00:20Z",
          "took_seconds": 0,
          "next_run": "2000-01-01T00:00:30Z",
          "successes": 3,
          "failures": 0,
          "running": false,
          "stuck": false,
          "interval_seconds": 10,
          "timeout_seconds": 5,
          "rise": 1,
          "fall": 3
        }
      ]
    },
    {
      "service": "shop/cart",
      "status": "NOT_SERVING",
      "since": "2000-01-01T00:00:00.002Z",
      "reasons": [
        "db"
      ],
      "warnings": [
        "disk"
      ],
      "checks": [
        {
          "check": "db",
          "critical": true,
          "status": "NOT_SERVING",
          "since": "2000-01-01T00:00:00.002Z",
          "error": "dial\\n\\u001b[31m\u003cb\u003etcp\u003c/b\u003e",
          "degraded": false,
          "last_run": "2000-01-01T00:00:20Z",
          "took_seconds": 0.002,
          "next_run": "2000-01-01T00:00:30Z",
          "successes": 0,
          "failures": 3,
          "running": false,
          "stuck": false,
          "interval_seconds": 10,
          "timeout_seconds": 5,
          "rise": 1,
          "fall": 3
        },
        {
          "check": "disk",
          "critical": false,
          "status": "SERVING",
          "since": "2000-01-01T00:00:00Z",
          "error": "93 % full",
          "degraded": true,
          "last_run": "2000-01-01T00:00:20Z",
          "took_seconds": 0,
          "next_run": "2000-01-01T00:00:40Z",
          "successes": 2,
          "failures": 0,
          "running": false,
          "stuck": false,
          "interval_seconds": 20,
          "timeout_seconds": 5,
          "rise": 1,
          "fall": 3
        }
      ]
    },
    {
      "service": "shop/pay",
      "status": "UNKNOWN",
      "since": "2000-01-01T00:00:00Z",
      "reasons": [
        "queue"
      ],
      "warnings": [
        "stuck"
      ],
      "checks": [
        {
          "check": "queue",
          "critical": true,
          "status": "UNKNOWN",
          "since": "2000-01-01T00:00:00Z",
          "error": "",
          "degraded": false,
          "next_run": "2000-01-01T00:00:10Z",
          "successes": 0,
          "failures": 0,
          "running": true,
          "stuck": false,
          "interval_seconds": 10,
          "timeout_seconds": 60,
          "rise": 1,
          "fall": 3
        },
        {
          "check": "stuck",
          "critical": false,
          "status": "NOT_SERVING",
          "since": "2000-01-01T00:00:07Z",
          "error": "it did not return within 7s",
          "degraded": false,
          "last_run": "2000-01-01T00:00:00Z",
          "took_seconds": 7,
          "successes": 0,
          "failures": 2,
          "running": true,
          "stuck": true,
          "interval_seconds": 10,
          "timeout_seconds": 7,
          "rise": 1,
          "fall": 3
        }
      ]
    }
  ]
}
`
		if body != want {
			t.Errorf("got\n%s", body)
		}
	})
}

func TestPageText(t *testing.T) {
	withPage(t, func(t *testing.T, f *fixture) {
		resp, body := f.get("GET", "")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		want := `"" (this process): SERVING since 2000-01-01T00:00:00.000Z (25s ago)
  a: SERVING since 2000-01-01T00:00:00.000Z (25s ago), successes in a row: 3 (rise 1)
    last run 2000-01-01T00:00:20.000Z (5s ago), took 0s; next run 2000-01-01T00:00:30.000Z; interval 10s, timeout 5s

shop/cart: NOT_SERVING since 2000-01-01T00:00:00.002Z (24s ago), failing: db
  db: NOT_SERVING since 2000-01-01T00:00:00.002Z (24s ago), failures in a row: 3 (fall 3)
    last run 2000-01-01T00:00:20.000Z (5s ago), took 2ms; next run 2000-01-01T00:00:30.000Z; interval 10s, timeout 5s
    error: dial\n\u001b[31m<b>tcp</b>
  disk: SERVING since 2000-01-01T00:00:00.000Z (25s ago), not critical, successes in a row: 2 (rise 1)
    last run 2000-01-01T00:00:20.000Z (5s ago), took 0s; next run 2000-01-01T00:00:40.000Z; interval 20s, timeout 5s
    warning: 93 % full

shop/pay: UNKNOWN since 2000-01-01T00:00:00.000Z (25s ago), not run yet: queue
  queue: UNKNOWN since 2000-01-01T00:00:00.000Z (25s ago)
    running; next run 2000-01-01T00:00:10.000Z; interval 10s, timeout 1m0s
  stuck: NOT_SERVING since 2000-01-01T00:00:07.000Z (18s ago), not critical, failures in a row: 2 (fall 3)
    stuck: a run has not returned within its timeout; last run 2000-01-01T00:00:00.000Z (25s ago), took 7s; interval 10s, timeout 7s
    error: it did not return within 7s
`
		if body != want {
			t.Errorf("got\n%s", body)
		}
	})
}

func TestPageForProbes(t *testing.T) {
	withPage(t, func(t *testing.T, f *fixture) {
		for _, tt := range []struct {
			method, query string
			code          int
			has           string // in the body
		}{
			{"GET", "?service=", 200, "this process"},
			{"GET", "?service=shop/cart", 503, "error: dial"},
			{"GET", "?service=shop/cart&format=json", 503, `"reasons": [`},
			{"GET", "?service=shop/pay", 503, "UNKNOWN"},
			{"GET", "?service=shop", 404, "There are no checks."},
			{"GET", "?service=shop&format=json", 404, `"services": []`},
			{"GET", "?service=shop%2Fcart", 503, "shop/cart"},
			{"GET", "?service=a&service=b", 400, "name one service"},
			{"GET", "?format=html", 400, "json or text"},
			{"GET", "?format=text&unknown=1", 200, "shop/pay"},
			{"POST", "", 405, "use GET or HEAD"},
			{"DELETE", "?service=", 405, "use GET or HEAD"},
			{"OPTIONS", "", 405, "use GET or HEAD"},
		} {
			resp, body := f.get(tt.method, tt.query)
			if resp.StatusCode != tt.code || !strings.Contains(body, tt.has) {
				t.Errorf("%s %s: %d\n%s", tt.method, tt.query, resp.StatusCode, body)
			}
			if tt.code == 405 && resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", resp.Header.Get("Allow"))
			}
			if h := resp.Header; h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", h)
			}
			if tt.code == 405 {
				continue
			}
			head, nothing := f.get("HEAD", tt.query)
			if head.StatusCode != tt.code || nothing != "" || head.Header.Get("Content-Length") != strconv.Itoa(len(body)) ||
				head.Header.Get("Content-Type") != resp.Header.Get("Content-Type") {
				t.Errorf("HEAD %s: %d %v %q", tt.query, head.StatusCode, head.Header, nothing)
			}
		}
	})
}

func TestPageFormatByAccept(t *testing.T) {
	withPage(t, func(t *testing.T, f *fixture) {
		for _, tt := range []struct {
			accept []string
			query  string
			json   bool
		}{
			{nil, "", false},
			{[]string{"*/*"}, "", false},
			{[]string{"application/json"}, "", true},
			{[]string{"Application/JSON; charset=utf-8"}, "", true},
			{[]string{"application/json, text/plain, */*"}, "", true},
			{[]string{"text/plain;q=0.5", "application/json;q=0.9"}, "", true},
			{[]string{"text/plain, application/json;q=0.9"}, "", false},
			{[]string{"text/plain;q=0.1, */*, application/json;q=0.5"}, "", true},
			{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "", false},
			{[]string{"application/json;q=0"}, "", false},
			{[]string{"application/json;q=x"}, "", false},
			{[]string{"application/json"}, "?format=text", false},
			{[]string{"text/plain"}, "?format=json", true},
			{[]string{";;,"}, "", false},
		} {
			_, body := f.get("GET", tt.query, tt.accept...)
			if json.Valid([]byte(body)) != tt.json {
				t.Errorf("%q %s: %.20q", tt.accept, tt.query, body)
			}
		}
	})
}

func TestPageBeforeAndAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		if _, body := f.get("GET", ""); body != "The checks do not run.\n\nThere are no checks.\n" {
			t.Errorf("got %q", body)
		}
		f.add("x", newProbe("a", nil))
		if resp, body := f.get("GET", "?service=x"); resp.StatusCode != 503 || !strings.HasPrefix(body, "The checks do not run.\n\nx: UNKNOWN") {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		f.start()
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		if resp, body := f.get("GET", "?service=x"); resp.StatusCode != 200 || !strings.HasPrefix(body, "The checks do not run.\n\nx: SERVING") {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
	})
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "it failed without a message"},
		{"a b", "a b"},
		{"größe π 日本", "größe π 日本"},
		{"a\nb\tc\rd", `a\nb\tc\rd`},
		{"\x00\x7f\x1b[2J", `\u0000\u007f\u001b[2J`},
		{"\xff\xc3(", `\xff\xc3(`},
		{"a\u202eb\u200b\u00a0", `a\u202eb\u200b\u00a0`},
		{"\U000e0041", `\U000e0041`},
		{"\ufffd", `\ufffd`},
	} {
		if got := errorText(tt.text); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
	for _, unit := range []string{"a", "ä", "日", "\n", "\x00", "\U000e0041", "\xff"} {
		for n := range 8 {
			got := errorText(strings.Repeat("b", n) + strings.Repeat(unit, 5000))
			if len(got) > maxErrorBytes || len(got) < maxErrorBytes-16 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
				t.Errorf("%q: %d bytes, %q", unit, len(got), got[len(got)-20:])
			}
		}
	}
	if got := errorText(strings.Repeat("a", maxErrorBytes)); len(got) != maxErrorBytes || strings.HasSuffix(got, "…") {
		t.Errorf("what fits was cut off")
	}
}

func TestResultsOfOneService(t *testing.T) {
	withPage(t, func(t *testing.T, f *fixture) {
		var names []string
		for _, r := range f.ResultsOf("shop/cart") {
			names = append(names, r.Service+" "+r.Check+" "+r.Status.String())
		}
		if got := strings.Join(names, ", "); got != "shop/cart db NOT_SERVING, shop/cart disk SERVING" {
			t.Errorf("got %s", got)
		}
		if got := f.ResultsOf("shop"); got != nil {
			t.Errorf("a service without checks has %v", got)
		}
	})
}
