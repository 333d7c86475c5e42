package aware_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/client/aware"
)

// TestHostileArguments: an error of Dial, and no panic, neither in it nor at the first call.
func TestHostileArguments(t *testing.T) {
	for name, d := range map[string]struct {
		service string
		opts    []aware.Option
	}{
		"nil dial option":     {"checkout", []aware.Option{aware.WithDialOptions(nil)}},
		"one of two is nil":   {"checkout", []aware.Option{aware.WithDialOptions(grpc.WithNoProxy(), nil)}},
		"service not UTF-8":   {"check\xffout", nil},
		"empty policy config": {"checkout", []aware.Option{aware.WithPolicy("round_robin", " ")}},
		"policy config array": {"checkout", []aware.Option{aware.WithPolicy("round_robin", "[]")}},
		"policy of no name":   {"checkout", []aware.Option{aware.WithPolicy("no\xff", "{}")}},
		"nil resolver":        {"checkout", []aware.Option{aware.WithResolver(nil)}},
		"nil view":            {"checkout", []aware.Option{aware.WithView(nil, aware.Mapping{"": "x"})}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := aware.Dial("127.0.0.1:1", d.service, d.opts...)
			if err == nil {
				conn.Close()
				t.Fatal("it is taken")
			}
			if !strings.HasPrefix(err.Error(), "aware: ") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
