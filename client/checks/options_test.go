package checks

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/health"
)

func TestBadInputOfAdd(t *testing.T) {
	good := newProbe("db", nil)
	named := func(name string) Check { return newProbe(name, nil) }
	for _, tt := range []struct {
		service string
		check   Check
		opts    []CheckOption
		want    string
	}{
		{"x", nil, nil, `checks: service "x": the check is nil`},
		{"x", (*probe)(nil), nil, `checks: service "x": the check is nil`},
		{"x", Func("f", nil), nil, `checks: service "x": check "f": its function is nil`},
		{"x", invalid{good}, nil, `checks: service "x": check "db": it has no query`},
		{"x", named(""), nil, `checks: service "x": a check has no name`},
		{"x", named("a\nb"), nil, `checks: service "x": the check's name "a\nb": U+000A at byte 2 is not allowed: it is a control character`},
		{"x", named("a\x00"), nil, `U+0000`},
		{"x", named("a\u202eb"), nil, `U+202E`},
		{"x", named("a\xff"), nil, `UTF-8`},
		{"x", named(strings.Repeat("a", 257)), nil, `256`},
		{"x", nameless{}, nil, `checks: service "x": the check checks.nameless cannot be asked for its name and rules: panic: no name`},
		{"a*", good, nil, `checks: the service's name "a*"`},
		{"a\nb", good, nil, `checks: the service's name "a\nb": U+000A`},
		{"rollcall.x", good, nil, `checks: the service's name "rollcall.x"`},
		{strings.Repeat("a", 257), good, nil, `checks: the service's name`},
		{"x", good, []CheckOption{nil}, `check "db": an option is nil`},
		{"x", good, []CheckOption{Interval(0)}, `checks: service "x": check "db": the interval is 0s; 1ms to 8760h0m0s are allowed`},
		{"x", good, []CheckOption{Interval(-s)}, `the interval is -1s`},
		{"x", good, []CheckOption{Interval(1)}, `the interval is 1ns`},
		{"x", good, []CheckOption{Interval(math.MaxInt64)}, `the interval is`},
		{"x", good, []CheckOption{Timeout(0)}, `the timeout is 0s; more than 0 and at most 8760h0m0s are allowed`},
		{"x", good, []CheckOption{Timeout(-s)}, `the timeout is -1s`},
		{"x", good, []CheckOption{Timeout(math.MaxInt64)}, `the timeout is`},
		{"x", good, []CheckOption{Jitter(1)}, `the jitter is 1; 0 or more and less than 1 are allowed`},
		{"x", good, []CheckOption{Jitter(-0.1)}, `the jitter is -0.1`},
		{"x", good, []CheckOption{Jitter(math.NaN())}, `the jitter is NaN`},
		{"x", good, []CheckOption{Jitter(math.Inf(1))}, `the jitter is +Inf`},
		{"x", good, []CheckOption{Rise(0)}, `rise is 0; at least 1 success is needed`},
		{"x", good, []CheckOption{Fall(0)}, `fall is 0; at least 1 failure is needed`},
		{"x", good, []CheckOption{Fall(-1)}, `fall is -1`},
		{"there", good, nil, `checks: service "there" has a check "db" already`},
	} {
		r := NewRunner()
		if err := r.Add("there", good); err != nil {
			t.Fatal(err)
		}
		err := r.Add(tt.service, tt.check, tt.opts...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
		if n := len(r.Results()); n != 1 || len(r.services) != 1 {
			t.Errorf("%v: %d results, %d services", err, n, len(r.services))
		}
	}
}

type invalid struct{ *probe }

func (invalid) Validate() error { return errors.New("it has no query") }

type nameless struct{}

func (nameless) Name() string                { panic("no name") }
func (nameless) Check(context.Context) error { return nil }

func TestGoodInputOfAdd(t *testing.T) {
	r := NewRunner()
	for _, tt := range []struct {
		service string
		check   Check
		opts    []CheckOption
	}{
		{"", Func("disk /var", func(context.Context) error { return nil }), nil},
		{"liveness", newProbe("größe, π = 3", nil), []CheckOption{Interval(time.Millisecond), Timeout(1), Jitter(0.999), Rise(1), Fall(1)}},
		{"shop/cart", newProbe("db", nil), []CheckOption{Interval(s), Timeout(time.Hour), Rise(math.MaxInt), Fall(math.MaxInt)}},
		{"shop/pay", newProbe("db", nil), nil},
	} {
		if err := r.Add(tt.service, tt.check, tt.opts...); err != nil {
			t.Error(err)
		}
	}
	for _, x := range r.Results() {
		if x.Service == "shop/pay" && (x.Interval != 10*s || x.Timeout != 5*s || x.Rise != 1 || x.Fall != 3 || !x.Critical) {
			t.Errorf("defaults: %+v", x)
		}
	}
	if r.Remove("shop/pay", "nobody") || r.Remove("nobody", "db") {
		t.Error("Remove found what is not there")
	}
}

func TestBadOptionsOfNewRunner(t *testing.T) {
	for _, tt := range []struct {
		opt  RunnerOption
		want string
	}{
		{To(nil), "checks: a reporter is nil"},
		{To((*health.Server)(nil)), "checks: a reporter is nil"},
		{To(&notes{}, ToRegistry(nil, nil)), "checks: a reporter is nil"},
		{WithLogger(nil), "checks: the logger is nil"},
		{WithObserver(nil), "checks: the observer is nil"},
		{WithMaxParallel(0), "checks: 0 checks at once are allowed; at least 1 is needed"},
		{nil, "checks: an option of NewRunner is nil"},
	} {
		r := NewRunner(tt.opt, WithMaxParallel(-5)) // the first fault counts
		if err := r.Add("x", newProbe("a", nil)); err == nil || err.Error() != tt.want {
			t.Errorf("Add: got %v, want %s", err, tt.want)
		}
		if err := r.Run(t.Context()); err == nil || err.Error() != tt.want {
			t.Errorf("Run: got %v, want %s", err, tt.want)
		}
		if n := len(r.Results()); n != 0 {
			t.Errorf("%d results", n)
		}
	}
}
