package cliflag

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// WrongValue says in plain words why a flag does not take a value. err is what its Set returned. Go's own
// errors of numbers speak of functions and parsing.
func WrongValue(f *pflag.Flag, value string, err error) error {
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return err
	}
	kind := f.Value.Type()
	switch {
	case kind == "bool":
		return fmt.Errorf("%q is neither true nor false", value)
	case errors.Is(number, strconv.ErrRange) && strings.HasPrefix(value, "-"):
		return fmt.Errorf("%s is too small", value)
	case errors.Is(number, strconv.ErrRange):
		return fmt.Errorf("%s is too large", value)
	case strings.HasPrefix(kind, "uint"):
		return fmt.Errorf("%q is no whole number from 0", value)
	}
	return fmt.Errorf("%q is no whole number", value)
}

// FlagError says in plain words what is wrong with the flags of a command line, given pflag's error; and which
// flag was probably meant, "" if none is near.
func FlagError(flags *pflag.FlagSet, err error) (meant string, plain error) {
	var (
		unknown *pflag.NotExistError
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		syntax  *pflag.InvalidSyntaxError
		twice   *givenTwice
	)
	switch {
	case errors.As(err, &twice):
		return "", twice
	case errors.As(err, &value):
		f := value.GetFlag()
		return "", fmt.Errorf("--%s: %w", f.Name, WrongValue(f, value.GetValue(), value.Unwrap()))
	case errors.As(err, &unknown):
		name, dashes := unknown.GetSpecifiedName(), "--"
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			name, dashes = short, "-"
		}
		if near := NearestFlag(flags, name); near != "" {
			meant = "--" + near
		}
		return meant, fmt.Errorf("unknown flag: %s%s", dashes, name)
	case errors.As(err, &missing):
		if short := missing.GetSpecifiedShortnames(); short != "" {
			return "", fmt.Errorf("-%s needs a value", short)
		}
		return "", fmt.Errorf("--%s needs a value", missing.GetSpecifiedName())
	case errors.As(err, &syntax):
		return "", fmt.Errorf("%q is no flag", syntax.GetSpecifiedFlag())
	}
	return "", err
}
