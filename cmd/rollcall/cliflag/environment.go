package cliflag

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// environmentSetter is a flag value whose variable has another form than one argument.
type environmentSetter interface {
	SetFromEnvironment(value string) error
}

// notFromEnvironment are the flags that no variable sets.
var notFromEnvironment = map[string]bool{"help": true, "version": true}

// EnvironmentName returns the variable that stands for a flag: ROLLCALL_IF_REVISION for if-revision.
func EnvironmentName(flag string) string {
	return "ROLLCALL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// BindEnvironment gives each flag that was not set the value of its variable. An empty variable counts as
// absent.
func BindEnvironment(flags *pflag.FlagSet) error {
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || notFromEnvironment[f.Name] || f.Annotations[FlagOnly] != nil {
			return
		}
		name := EnvironmentName(f.Name)
		value := os.Getenv(name)
		if value == "" {
			return
		}
		set := f.Value.Set
		if v, ok := f.Value.(environmentSetter); ok {
			set = v.SetFromEnvironment
		}
		if err := set(value); err != nil {
			first = fmt.Errorf("environment variable %s=%q, which stands for --%s: %w", name, value, f.Name, err)
			return
		}
		f.Changed = true
	})
	return first
}

// FlagOnly is the annotation of a flag that no variable stands for.
const FlagOnly = "rollcall_flag_only"
