package cliflag

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

func TestListsOfPrefixes(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []string
	}{
		{nil, nil},
		{[]string{"--p", "a"}, []string{"a"}},
		{[]string{"--p", "a,shop/"}, []string{"a", "shop/"}},
		{[]string{"--p", "a, shop/", "--p", "b"}, []string{"a", "shop/", "b"}},
		{[]string{"--p", ""}, []string{""}},
		{[]string{"--p", "a,"}, []string{"a"}}, // not every name
		{[]string{"--p", ","}, nil},
	} {
		var got []string
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		PrefixesVar(flags, &got, "p", "")
		if err := flags.Parse(test.args); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %q %v, want %q", test.args, got, err, test.want)
		}
	}
}
