package resolver

import (
	"strings"
	"testing"
	"testing/synctest"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func TestPanic(t *testing.T) {
	for name, test := range map[string]struct {
		percent int
		records []*rollcallv1.ServiceRecord
		off     bool
		want    string
		count   string
	}{
		"off":                     {0, records(is(a1, client.Serving), is(a2, client.NotServing), is(a3, client.NotServing)), false, a1, "checkout 1 0 0"},
		"off, all are ill":        {0, records(is(a1, client.NotServing)), false, "none", "checkout 0 0 0"},
		"half is enough for 50 %": {50, records(is(a1, client.Serving), is(a2, client.NotServing)), false, a1, "checkout 1 0 0"},
		"a third is not":          {50, records(is(a1, client.Serving), is(a2, client.NotServing), is(a3, client.Unknown)), false, a1 + " " + a2 + " " + a3, "checkout 1 0 2"},
		"none is not":             {50, records(is(a1, client.NotServing), is(a2, client.NotServing)), false, a1 + " " + a2, "checkout 0 0 2"},
		"1 %, none":               {1, records(is(a1, client.NotServing), is(a2, client.NotServing)), false, a1 + " " + a2, "checkout 0 0 2"},
		"100 %":                   {100, records(is(a1, client.Serving), is(a2, client.NotServing)), false, a1 + " " + a2, "checkout 1 0 1"},
		"100 %, all are well":     {100, records(is(a1, client.Serving), is(a2, client.Serving)), false, a1 + " " + a2, "checkout 2 0 0"},
		"an operator's do not count": {50, records(is(a1, client.Serving), overridden(a2, client.NotServing, nil), overridden(a3, client.Unknown, nil)),
			false, a1, "checkout 1 0 0"},
		"an operator's are not given": {50, records(is(a1, client.NotServing), overridden(a2, client.NotServing, nil)), false, a1, "checkout 0 0 1"},
		"all are an operator's":       {50, records(overridden(a1, client.NotServing, nil)), false, "none", "checkout 0 0 0"},
		"SERVICE is off":              {50, records(is(a1, client.NotServing), is(a2, client.Serving)), true, "none", "checkout 0 0 0"},
		"the skipped do not count":    {50, records(is(a1, client.Serving), is(a2, client.NotServing), is("x", client.NotServing), is("y", client.NotServing)), false, a1, "checkout 1 2 0"},
		"what is skipped":             {50, records(is(a1, client.NotServing), is("x", client.Serving), is("y", client.NotServing)), false, a1, "checkout 0 2 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry(t)
				if err := WithPanic(test.percent)(r.builder); err != nil {
					t.Fatal(err)
				}
				c := r.channel()
				defer func() {
					c.resolver.Close()
					if r.logged("enough instances") {
						t.Error("the last channel was closed, and somebody was told that all is well")
					}
				}()
				r.off(test.off)
				r.both(1, test.records...)
				c.has(t, test.want)
				if got := r.counts[len(r.counts)-1]; got != test.count {
					t.Errorf("counted %q; want %q", got, test.count)
				}
				if told := r.logged("too few instances"); told != !strings.HasSuffix(test.count, " 0") {
					t.Errorf("told: %v", told)
				}
			})
		})
	}
}
