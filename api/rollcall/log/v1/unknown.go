package logv1

import "fmt"

// ErrUnknown means that a message holds something that this binary does not know: a field, or a value of
// an enum. A newer binary wrote or sent it, and it cannot be skipped: that would lose what it says. It is a
// sort of ErrFormat.
var ErrUnknown = fmt.Errorf("a newer version of rollcall made it: %w", ErrFormat)

// UnknownField is the error of a decoder at a field that the message does not have.
func UnknownField(message string, number int32) error {
	return fmt.Errorf("%s has an unknown field %d: %w", message, number, ErrUnknown)
}

// UnknownValue is the error of a decoder at a value that the enum of a field does not have.
func UnknownValue(message string, number, value int32) error {
	return fmt.Errorf("%s has an unknown value %d in field %d: %w", message, value, number, ErrUnknown)
}
