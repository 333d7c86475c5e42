package cliflag

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/internal/duration"
)

// DurationForms says which forms a duration may have.
const DurationForms = duration.Forms

// ParseDuration reads a duration in one of the DurationForms. Go has no days and no weeks; here a day always
// has 24 hours. A duration may be negative: who asks for it says whether that makes sense.
func ParseDuration(s string) (time.Duration, error) { return duration.Parse(s) }

// DurationVar defines a flag whose value is a duration.
func DurationVar(flags *pflag.FlagSet, to *time.Duration, name string, value time.Duration, usage string) {
	*to = value
	flags.Var((*durationValue)(to), name, usage)
}

type durationValue time.Duration

// Set implements pflag.Value.
func (d *durationValue) Set(s string) error {
	v, err := ParseDuration(s)
	if err == nil {
		*d = durationValue(v)
	}
	return err
}

// String implements pflag.Value.
func (d *durationValue) String() string { return format.Duration(time.Duration(*d)) }

// Type implements pflag.Value.
func (*durationValue) Type() string { return "duration" }
