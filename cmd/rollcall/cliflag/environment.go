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

// BindEnvironment gives each flag that was not set the value of its variable. A variable that is empty, or only
// white space, counts as absent.
func BindEnvironment(flags *pflag.FlagSet) error {
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || !FromEnvironment(f) {
			return
		}
		name := EnvironmentName(f.Name)
		value := os.Getenv(name)
		if strings.TrimSpace(value) == "" {
			return
		}
		set := f.Value.Set
		if v, ok := f.Value.(environmentSetter); ok {
			set = v.SetFromEnvironment
		}
		if err := set(value); err != nil {
			first = fmt.Errorf("environment variable %s, which stands for --%s: %w", name, f.Name, WrongValue(f, value, err))
			return
		}
		f.Changed = true
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[fromVariable] = []string{"true"}
	})
	return first
}

const flagOnly = "rollcall_flag_only"

// FlagOnly marks flags that no variable stands for: those that choose what the command does, or mean something
// else than the flag of the same name of another command. A variable is set for all commands at once, and must
// change neither.
func FlagOnly(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		// The only error is that there is no such flag, which is a defect of this program.
		if err := flags.SetAnnotation(name, flagOnly, []string{"true"}); err != nil {
			panic(err)
		}
	}
}

// FromEnvironment reports whether a variable can stand for f.
func FromEnvironment(f *pflag.Flag) bool {
	return !notFromEnvironment[f.Name] && f.Annotations[flagOnly] == nil
}

// fromVariable is the annotation of a flag whose value came from its variable.
const fromVariable = "rollcall_from_variable"

// Given reports whether a flag stands on the command line. Its variable does not count: it is set for all
// commands, so that it cannot contradict what one of them was asked.
func Given(flags *pflag.FlagSet, name string) bool {
	f := flags.Lookup(name)
	return f != nil && f.Changed && f.Annotations[fromVariable] == nil
}

const notEmpty = "rollcall_not_empty"

// NotEmpty marks flags that mean nothing when they are given without a text: most likely a variable of a script
// was not set.
func NotEmpty(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := flags.SetAnnotation(name, notEmpty, []string{"true"}); err != nil {
			panic(err)
		}
	}
}

// FirstEmpty returns a flag marked by NotEmpty that was given without a text; "" if there is none.
func FirstEmpty(flags *pflag.FlagSet) string {
	name := ""
	flags.Visit(func(f *pflag.Flag) {
		if name == "" && f.Annotations[notEmpty] != nil && strings.TrimSpace(f.Value.String()) == "" {
			name = f.Name
		}
	})
	return name
}
