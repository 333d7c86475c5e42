package cliflag

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Once has each flag that is defined so far and takes one value refuse a second one on the same command line: the last
// would silently win, and the first would be lost. Flags that are true or false, and lists, may be repeated.
func Once(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		switch f.Value.(type) {
		case *list, *once:
			return
		}
		if f.Value.Type() != "bool" {
			f.Value = &once{Value: f.Value, flag: f}
		}
	})
}

const inPlaceOfTwo = "rollcall_in_place_of_two"

// InPlaceOfTwo says what to do in place of giving a flag twice, where Once is used.
func InPlaceOfTwo(flags *pflag.FlagSet, name, what string) {
	if err := flags.SetAnnotation(name, inPlaceOfTwo, []string{what}); err != nil {
		panic(err)
	}
}

type once struct {
	pflag.Value
	flag  *pflag.Flag
	given bool
}

// Set implements pflag.Value.
func (o *once) Set(s string) error {
	if o.given {
		return &givenTwice{o.flag}
	}
	o.given = true
	return o.Value.Set(s)
}

// givenTwice is the error of a flag that takes one value and was given two.
type givenTwice struct{ flag *pflag.Flag }

func (g *givenTwice) Error() string {
	what := "give it once"
	if a := g.flag.Annotations[inPlaceOfTwo]; len(a) > 0 {
		what = a[0]
	}
	return fmt.Sprintf("--%s is given twice; %s", g.flag.Name, what)
}
