package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// checkName refuses a name that no service can have, before anything is sent.
func checkName(service string) error {
	if bad := limits.Name(service); bad != nil {
		return invalid("service name %w", bad)
	}
	return nil
}

// checkLookup refuses a name or prefix that no node would look up.
func checkLookup(service string) error {
	if bad := limits.Lookup(service); bad != nil {
		return invalid("service name %w", bad)
	}
	return nil
}

// exactly, between and noArguments check the number of arguments, and name the one that is missing or too
// much.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), names...) }

// between requires the first least of names, and allows all of them.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			missing := names[len(args):least]
			if len(missing) > 1 {
				return fmt.Errorf("%s are missing", strings.Join(missing, " and "))
			}
			return fmt.Errorf("%s is missing", missing[0])
		case len(args) > len(names):
			return tooMany(args[len(names)])
		}
		return nil
	}
}

// atLeastOne requires one argument or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s is missing", name)
		}
		return nil
	}
}

func tooMany(arg string) error { return fmt.Errorf("%q is one argument too many", arg) }

func noArguments(_ *cobra.Command, args []string) error { return between(0)(nil, args) }
