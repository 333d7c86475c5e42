package rollcallv1

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameBytes is the longest service name.
const MaxNameBytes = 256

// OwnPrefix begins the names that a node answers for itself; so is "". They are never replicated
// and cannot be set.
const OwnPrefix = "rollcall."

// The node's own names.
const (
	OwnReady  = ""                // reads, and a leader confirmed lately
	OwnLive   = "rollcall.live"   // the process answers
	OwnReads  = "rollcall.reads"  // the map is loaded, not draining
	OwnLeader = "rollcall.leader" // this node leads
)

// NameProblem is what can be wrong with a name.
type NameProblem int

const (
	NameEmpty NameProblem = iota + 1
	NameTooLong
	NameNotUTF8
	NameControlCharacter
	NameForbiddenCharacter
	NameReserved
)

// NameError says what is wrong with a name: a code and values, so that it means the same on every
// node; Error words it.
type NameError struct {
	Name    string
	Problem NameProblem
	Rune    rune // for NameControlCharacter and NameForbiddenCharacter
}

func (e *NameError) Error() string {
	switch e.Problem {
	case NameEmpty:
		return `is empty; "" is the node's own`
	case NameTooLong:
		return fmt.Sprintf("is %d bytes long; at most %d are allowed", len(e.Name), MaxNameBytes)
	case NameNotUTF8:
		return "is not valid UTF-8"
	case NameControlCharacter:
		return fmt.Sprintf("%q holds the control character %U", e.Name, e.Rune)
	case NameForbiddenCharacter:
		return fmt.Sprintf("%q holds %q; white space, '*', '=' and ',' are not allowed", e.Name, e.Rune)
	case NameReserved:
		return fmt.Sprintf("%q begins with %q, which is kept for the node's own names", e.Name, OwnPrefix)
	}
	return "is not a name"
}

// CheckName says what is wrong with name as one to be written, as a *NameError; nil if nothing is.
func CheckName(name string) error {
	if e := NameToWrite(name); e != nil {
		return e
	}
	return nil
}

// CheckLookup says what is wrong with name as one to be looked up or watched, as a *NameError; nil if
// nothing is. It is laxer than CheckName, as grpc.health.v1 has no rules for names, and strict enough
// that nobody can make a node remember what could never be set.
func CheckLookup(name string) error {
	if e := nameToLookUp(name); e != nil {
		return e
	}
	return nil
}

// NameToWrite is CheckName with the problem as values.
func NameToWrite(name string) *NameError {
	if name == "" {
		return &NameError{Problem: NameEmpty}
	}
	if e := nameToLookUp(name); e != nil {
		return e
	}
	if strings.HasPrefix(name, OwnPrefix) {
		return &NameError{Name: name, Problem: NameReserved}
	}
	for _, r := range name {
		if unicode.IsSpace(r) || r == '*' || r == '=' || r == ',' {
			return &NameError{Name: name, Problem: NameForbiddenCharacter, Rune: r}
		}
	}
	return nil
}

func nameToLookUp(name string) *NameError {
	if len(name) > MaxNameBytes {
		return &NameError{Name: name, Problem: NameTooLong}
	}
	if !utf8.ValidString(name) {
		return &NameError{Name: name, Problem: NameNotUTF8}
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return &NameError{Name: name, Problem: NameControlCharacter, Rune: r}
		}
	}
	return nil
}
