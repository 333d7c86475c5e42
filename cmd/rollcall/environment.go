package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// environmentValue is a flag value that reads its variable in another way than one argument.
type environmentValue interface {
	setFromEnvironment(value string) error
}

// notFromEnvironment are flags that ask for something once, and never as a setting.
var notFromEnvironment = map[string]bool{"help": true, "version": true}

func environmentName(flag string) string {
	return "ROLLCALL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// bindEnvironment gives each flag that was not set the value of its variable. Empty counts as absent.
func bindEnvironment(flags *pflag.FlagSet) error {
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || notFromEnvironment[f.Name] || f.Annotations[flagOnly] != nil {
			return
		}
		name := environmentName(f.Name)
		value := os.Getenv(name)
		if value == "" {
			return
		}
		set := f.Value.Set
		if v, ok := f.Value.(environmentValue); ok {
			set = v.setFromEnvironment
		}
		if err := set(value); err != nil {
			first = invalid("environment variable %s=%q, which stands for --%s: %w", name, value, f.Name, err)
			return
		}
		f.Changed = true
	})
	return first
}

// flagOnly marks a flag that has no variable.
const flagOnly = "rollcall_flag_only"
