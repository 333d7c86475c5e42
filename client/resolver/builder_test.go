package resolver

import (
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/client"
)

func TestNewErrors(t *testing.T) {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, test := range map[string]struct {
		client *client.Client
		option Option
		want   string // "": fine
	}{
		"nil client":        {nil, WithPanic(0), "client is nil"},
		"nil option":        {c, nil, "option is nil"},
		"nil logger":        {c, WithLogger(nil), "logger is nil"},
		"nil observer":      {c, WithObserver(nil), "observer is nil"},
		"panic below 0 %":   {c, WithPanic(-1), "from 0 (off) to 100"},
		"panic above 100 %": {c, WithPanic(101), "from 0 (off) to 100"},
		"panic is off":      {c, WithPanic(0), ""},
		"panic at 100 %":    {c, WithPanic(100), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := New(test.client, test.option)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v; want %q", err, test.want)
			}
			if (b != nil) != (test.want == "") {
				t.Error("a result beside an error, or none")
			}
		})
	}
}
