package limits

import (
	"strings"
	"unicode/utf8"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Name says what is wrong with the name of a service that is to be written; nil if nothing is. A name is
// 1 to MaxNameBytes of UTF-8 in Normalization Form C, of characters that show: letters, marks, numbers,
// punctuation and symbols, but not '*', '=' and ','. A mark needs a character before it, other than '/'.
// Names that begin with rollcallv1.OwnPrefix are the nodes' own.
func Name(name string) *Error {
	if err := characters(name, MaxNameBytes); err != nil {
		return err
	}
	if strings.HasPrefix(name, rollcallv1.OwnPrefix) {
		return &Error{Problem: Reserved, Text: name}
	}
	return nil
}

// RuleName says what is wrong with the name of a rule; nil if nothing is. It is as a service's name, but at
// most MaxRuleNameBytes.
func RuleName(name string) *Error { return characters(name, MaxRuleNameBytes) }

// characters says what is wrong with a name but that it may be reserved.
func characters(name string, limit int) *Error {
	if name == "" {
		return &Error{Problem: Empty}
	}
	if len(name) > limit {
		return tooLong(name, limit)
	}
	for i := 0; i < len(name); i++ {
		if !inNames[name[i]] {
			return unusualName(name)
		}
	}
	return nil
}

// inNames are the bytes of ASCII that names may hold.
var inNames = func() (in [256]bool) {
	for c := '!'; c <= '~'; c++ {
		in[c] = c != '*' && c != '=' && c != ','
	}
	return in
}()

// unusualName is Name for one that holds more than the usual ASCII.
func unusualName(name string) *Error {
	if !utf8.ValidString(name) {
		return &Error{Problem: NotUTF8, Text: name}
	}
	before := '/'
	for i, r := range name {
		switch {
		case r < utf8.RuneSelf && !inNames[r], r >= utf8.RuneSelf && !contains(shown, r):
			return &Error{Problem: BadCharacter, Text: name, Rune: r, Offset: i}
		case before == '/' && contains(marks, r):
			return &Error{Problem: MisplacedMark, Text: name, Rune: r, Offset: i}
		}
		before = r
	}
	return normalized(name)
}

// Lookup says what is wrong with a name or prefix that is to be looked up or watched; nil if nothing is. It
// is laxer than Name, as grpc.health.v1 has no rules for names, and strict enough that nobody can make a
// node remember what could never be set.
func Lookup(name string) *Error {
	if len(name) > MaxNameBytes {
		return tooLong(name, MaxNameBytes)
	}
	if isPlain(name) {
		return nil
	}
	if !utf8.ValidString(name) {
		return &Error{Problem: NotUTF8, Text: name}
	}
	for i, r := range name {
		if isControl(r) {
			return &Error{Problem: BadCharacter, Text: name, Rune: r, Offset: i}
		}
	}
	return nil
}
