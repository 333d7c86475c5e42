package cliflag

import (
	"strings"

	"github.com/spf13/pflag"
)

// ListVarP defines a flag that takes several values, comma separated or repeated. What is given takes the place
// of the default. (pflag's own lists read CSV, and speak of its quotes when it is malformed.)
func ListVarP(flags *pflag.FlagSet, to *[]string, name, shorthand string, value []string, usage string) {
	*to = value
	flags.VarP(&list{to: to}, name, shorthand, usage)
}

// PrefixesVar defines a flag like that of ListVarP, of prefixes of names. The empty text is a prefix too: of every
// name.
func PrefixesVar(flags *pflag.FlagSet, to *[]string, name, usage string) {
	flags.Var(&list{to: to, empty: true}, name, usage)
}

type list struct {
	to    *[]string
	empty bool // the empty text is a value
	given bool
}

// Set implements pflag.Value.
func (l *list) Set(s string) error {
	if !l.given {
		*l.to, l.given = nil, true
	}
	if l.empty && strings.TrimSpace(s) == "" {
		*l.to = append(*l.to, "")
	}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l.to = append(*l.to, part)
		}
	}
	return nil
}

// String implements pflag.Value.
func (l *list) String() string {
	if l.to == nil {
		return ""
	}
	return strings.Join(*l.to, ",")
}

// Type implements pflag.Value.
func (*list) Type() string { return "list" }
