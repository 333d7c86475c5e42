package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/view"
)

func itoa(n int) string { return strconv.Itoa(n) }

// off is what the registry says of a name that an override has switched off; left 0 is without end.
func off(name, pattern, actor, reason string, at time.Time, left time.Duration) view.Opinion {
	o := &rollcallv1.Override{Pattern: pattern, Status: client.NotServing, Reason: reason, Actor: &rollcallv1.Actor{Name: actor}, Time: timestamppb.New(at)}
	if left > 0 {
		o.ExpireTime = timestamppb.New(at.Add(left))
	}
	return view.Opinion{Off: true, Heard: true, Status: client.NotServing, Revision: 7, HeardAt: at,
		Record: &rollcallv1.ServiceRecord{Service: name, Status: client.NotServing, Override: o}}
}

// withServices runs do with an agent of three services, at 2000-01-01T00:04:12Z.
func withServices(t *testing.T, do func(t *testing.T, get func(target, accept string) *httptest.ResponseRecorder, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake("pay", "shop/cart", "web")
		start := time.Now()
		web := f.services["web"]
		web.Status, web.Since, web.Own = client.Serving, start, Word{Status: client.Serving, Since: start}
		cart := f.services["shop/cart"]
		cart.Status, cart.Since, cart.Own = client.NotServing, start, Word{Status: client.Serving, Since: start}
		cart.Whole = off("shop/cart", "shop/*", "ann smith", "<b>new disk</b>", start, time.Hour)
		cart.Reported = view.Opinion{Heard: true, Status: client.Serving, HeardAt: start, Record: &rollcallv1.ServiceRecord{
			Service: "shop/cart/10.0.0.7:8080", Status: client.Serving,
			Report: &rollcallv1.Report{Status: client.Serving, Actor: &rollcallv1.Actor{Name: "host1"}, Time: timestamppb.New(start)},
		}}
		cart.Checks = []checks.Result{{Check: "http", Critical: true, Status: client.Serving, Since: start, LastRun: start, Successes: 3, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 3}}
		pay := f.services["pay"]
		pay.Pushed = &Word{Status: client.Unknown, Reason: "starts", Since: start}
		pay.Own.Reason, pay.Waiting = "starts", true
		pay.Whole = view.Opinion{Heard: true, HeardAt: start}
		h := newHandler(f, Options{}, newConnections(1, nil))
		time.Sleep(4*time.Minute + 12*time.Second)
		do(t, func(target, accept string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", target, nil)
			r.Host = "localhost"
			if accept != "" {
				r.Header.Set("Accept", accept)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}, f)
	})
}

func TestPageText(t *testing.T) {
	withServices(t, func(t *testing.T, get func(target, accept string) *httptest.ResponseRecorder, f *fake) {
		const cart = `shop/cart: NOT_SERVING since 2000-01-01T00:00:00Z (4m12s ago)
  why: the registry has switched it off: "shop/cart" is NOT_SERVING by the override of "shop/*" that "ann smith" set since 2000-01-01T00:00:00Z (4m12s ago) until 2000-01-01T01:00:00Z (55m48s left), "<b>new disk</b>"
  itself: SERVING since 2000-01-01T00:00:00Z (4m12s ago)
  registry: "shop/cart" is NOT_SERVING by the override of "shop/*" that "ann smith" set since 2000-01-01T00:00:00Z (4m12s ago) until 2000-01-01T01:00:00Z (55m48s left), "<b>new disk</b>"
  registry: "shop/cart/10.0.0.7:8080" is SERVING by a report of host1 since 2000-01-01T00:00:00Z (4m12s ago), no reason was given
  check http: SERVING since 2000-01-01T00:00:00.000Z (4m12s ago), successes in a row: 3 (rise 1)
    last run 2000-01-01T00:00:00.000Z (4m12s ago), took 0s; interval 1s, timeout 1s
`
		want := `2000-01-01T00:04:12Z: 1 NOT_SERVING, 1 UNKNOWN, 1 SERVING

` + cart + `
pay: UNKNOWN
  why: the registry has not been heard yet; after a moment the agent decides without it
  why: the service itself is UNKNOWN: "starts"
  itself: UNKNOWN: "starts"
  pushed: UNKNOWN since 2000-01-01T00:00:00Z (4m12s ago): "starts"
  registry: "pay" does not exist there
  registry: "pay/10.0.0.7:8080" was not heard of yet

web: SERVING since 2000-01-01T00:00:00Z (4m12s ago)
  itself: SERVING since 2000-01-01T00:00:00Z (4m12s ago)
  registry: "web" was not heard of yet
  registry: "web/10.0.0.7:8080" was not heard of yet
`
		if w := get("/", "*/*"); w.Body.String() != want || w.Code != 200 {
			t.Errorf("%d, got\n%s\nwant\n%s", w.Code, w.Body, want)
		}
		for _, target := range []string{"/?service=shop/cart", "/v1/status/shop/cart", "/v1/status?service=shop%2Fcart&format=text"} {
			if w := get(target, ""); w.Code != 200 || w.Body.String() != "2000-01-01T00:04:12Z: 1 NOT_SERVING, 0 UNKNOWN, 0 SERVING\n\n"+cart {
				t.Errorf("%s: %d\n%s", target, w.Code, w.Body)
			}
		}
		f.silent, f.ready = 3*time.Minute, errors.New("2 checks have not run yet")
		if got, _, _ := strings.Cut(get("/", "").Body.String(), "\n"); !strings.HasSuffix(got, "; the registry has not been heard for 3m0s, and what it said last stays; not ready: 2 checks have not run yet") {
			t.Errorf("got %q", got)
		}
		held := f.services["shop/cart"]
		held.Whole.Held = true
		if body := get("/?service=shop/cart", "").Body.String(); !strings.Contains(body, "an older cluster said so, and the one that answers now has not spoken of it") {
			t.Errorf("got %s", body)
		}
		for target, code := range map[string]int{"/?service=x": 404, "/?service=": 404, "/?format=yaml": 400, "/?x=1": 400, "/v1/status": 404} {
			if w := get(target, ""); w.Code != code {
				t.Errorf("%s: %d %q, want %d", target, w.Code, w.Body, code)
			}
		}
	})
}

// TestPageTellsOfARival: another reporter that has taken an instance over.
func TestPageTellsOfARival(t *testing.T) {
	withServices(t, func(t *testing.T, get func(target, accept string) *httptest.ResponseRecorder, f *fake) {
		for _, tt := range []struct {
			actor *rollcallv1.Actor
			want  string
		}{
			{&rollcallv1.Actor{Name: "agent@host2", Peer: "10.0.0.9:4711"}, `another reporter, agent@host2 from 10.0.0.9:4711, has reported`},
			{nil, `another reporter has reported`},
		} {
			f.services["web"].Rival = &rollcallv1.ServiceRecord{Report: &rollcallv1.Report{Actor: tt.actor}}
			want := tt.want + ` "web/10.0.0.7:8080" after this agent, and its word stands; give each agent an instance of its own`
			if got := get("/?service=web", "").Body.String(); !strings.Contains(got, "\n  warning: "+want+"\n") {
				t.Errorf("no %s in\n%s", want, got)
			}
			var page struct{ Services []struct{ Rival string } }
			if err := json.Unmarshal(get("/?service=web&format=json", "").Body.Bytes(), &page); err != nil || page.Services[0].Rival != want {
				t.Errorf("%v: %+v", err, page)
			}
		}
	})
}

func TestPageHTML(t *testing.T) {
	withServices(t, func(t *testing.T, get func(target, accept string) *httptest.ResponseRecorder, f *fake) {
		const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
		w := get("/", browser)
		body := w.Body.String()
		if kind := w.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%v", w.Header())
		}
		for _, has := range []string{`<details open><summary><b class="NOT_SERVING">NOT_SERVING</b> shop/cart since `, `<details><summary><b class="SERVING">SERVING</b> web`, "&lt;b&gt;new disk&lt;/b&gt;", "1 NOT_SERVING, 1 UNKNOWN, 1 SERVING"} {
			if !strings.Contains(body, has) {
				t.Errorf("no %s in\n%s", has, body)
			}
		}
		if strings.Contains(body, "<b>new disk") {
			t.Error("a reason is HTML")
		}
		if strings.Index(body, "shop/cart") > strings.Index(body, "web") {
			t.Error("what needs a look does not stand first")
		}
	})
}

func TestPageJSON(t *testing.T) {
	withServices(t, func(t *testing.T, get func(target, accept string) *httptest.ResponseRecorder, f *fake) {
		w := get("/?format=json", "text/html")
		var page struct {
			Time     time.Time
			Ready    bool
			Services []struct {
				Service, Instance, Status string
				Since                     *time.Time
				Reasons                   []string
				Own                       struct{ Status string }
				Pushed                    *struct{ Status, Reason string }
				Registry                  []struct {
					Service, Status string
					Off, Heard      bool
					Override        *struct{ Pattern, Actor, Reason string }
					Report          *struct{ Actor string }
				}
				Checks []struct{ Check, Status string }
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatal(err, w.Header())
		}
		if !page.Ready || !page.Time.Equal(time.Now()) || len(page.Services) != 3 {
			t.Fatalf("%+v", page)
		}
		cart, pay, web := page.Services[0], page.Services[1], page.Services[2]
		if cart.Service != "shop/cart" || cart.Instance != "10.0.0.7:8080" || cart.Status != "NOT_SERVING" || cart.Own.Status != "SERVING" || len(cart.Reasons) != 1 || cart.Pushed != nil ||
			cart.Registry[0].Override.Pattern != "shop/*" || cart.Registry[0].Override.Actor != "ann smith" || !cart.Registry[0].Off ||
			cart.Registry[1].Service != "shop/cart/10.0.0.7:8080" || cart.Registry[1].Report.Actor != "host1" || cart.Checks[0].Check != "http" {
			t.Errorf("%+v", cart)
		}
		if pay.Since != nil || pay.Pushed.Reason != "starts" || pay.Checks == nil || web.Reasons == nil || web.Registry[0].Heard {
			t.Errorf("%+v %+v", pay, web)
		}
		f.services["web"].Since = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)
		if w := get("/?format=json", ""); w.Code != 500 {
			t.Errorf("a time that JSON cannot hold: %d", w.Code)
		}
	})
}

func TestFormats(t *testing.T) {
	for accept, want := range map[string]string{
		"": "text", "*/*": "text", "text/*": "text", "text/plain": "text", "image/png": "text", ";": "text",
		"text/html": "html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "html", "text/html;q=0.5,text/plain;q=0.4": "html",
		"application/json": "json", "application/*": "json", "application/json, text/plain, */*": "json", "application/json;q=0.2, text/html;q=x": "json",
		"text/html;q=0, */*;q=0.1": "text", "text/html;q=0": "text", "text/plain;q=0, application/json;q=0": "text",
	} {
		if got := preferred([]string{accept}); got != want {
			t.Errorf("Accept %q: %s, want %s", accept, got, want)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	f := newFake()
	for i := range 10_000 {
		name := fmt.Sprintf("shop/cart%d", i)
		f.services[name] = &Service{Name: name, Instance: "10.0.0.7:8080", Status: client.Serving, Own: Word{Status: client.Serving}, Checks: make([]checks.Result, 1)}
	}
	for _, target := range []string{"/", "/?format=html", "/?format=json", "/metrics", "/readyz/shop/cart1"} {
		b.Run(target, func(b *testing.B) {
			h := newHandler(f, Options{}, newConnections(1, nil))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("GET", target, nil)
				r.Host = "localhost"
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
