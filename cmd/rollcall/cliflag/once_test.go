package cliflag

import (
	"io"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestOnce(t *testing.T) {
	t.Setenv("ROLLCALL_FOR", "5s")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--role", "a", "--on", "x", "--on", "y", "--dry-run", "--dry-run", "--for", "1s", "--revision", "1"}, ""},
		{[]string{"--role", "a", "--role", "b"}, "--role is given twice; add another one"},
		{[]string{"--role=a", "--role=a"}, "--role is given twice; add another one"},
		{[]string{"--role", "a", "-r", "b"}, "--role is given twice; add another one"},
		{[]string{"--for", "1s", "--for", "2s"}, "--for is given twice; give it once"},
		{[]string{"--revision", "1", "--revision", "1"}, "--revision is given twice; give it once"},
	} {
		var (
			role     string
			on       []string
			dryRun   bool
			long     time.Duration
			revision int64
		)
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.SetOutput(io.Discard)
		f.StringVarP(&role, "role", "r", "viewer", "")
		ListVarP(f, &on, "on", "", nil, "")
		f.BoolVar(&dryRun, "dry-run", false, "")
		DurationVar(f, &long, "for", 0, "")
		f.Int64Var(&revision, "revision", 0, "")
		InPlaceOfTwo(f, "role", "add another one")
		Once(f)
		Once(f)
		err := f.Parse(tt.args)
		if err == nil {
			err = BindEnvironment(f)
		}
		got := ""
		if err != nil {
			_, plain := FlagError(f, err)
			got = plain.Error()
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
		if tt.want == "" && (role != "a" || len(on) != 2 || !dryRun || long != time.Second || revision != 1) {
			t.Errorf("%q: %q %q %t %s %d", tt.args, role, on, dryRun, long, revision)
		}
		if usage := f.Lookup("role"); usage.DefValue != "viewer" || usage.Value.Type() != "string" {
			t.Errorf("the flag is described otherwise: %+v", usage)
		}
	}
}
