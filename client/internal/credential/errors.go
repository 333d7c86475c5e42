package credential

import "errors"

// ErrNone is the error of a call whose caller's function returned no token.
var ErrNone = errors.New("the token is empty")

// DamagedError is the error of a call whose caller's function returned a text that is no token.
type DamagedError struct{ err error }

// Error says what is wrong, and nothing of the text.
func (e *DamagedError) Error() string { return e.err.Error() }

func (e *DamagedError) Unwrap() error { return e.err }
