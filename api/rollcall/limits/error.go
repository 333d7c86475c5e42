package limits

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Problem is what can be wrong with a text.
type Problem int

const (
	Empty         Problem = iota + 1
	TooLong               // Limit is the greatest length
	NotUTF8               //
	BadCharacter          // Rune, at Offset, is not allowed
	MisplacedMark         // Rune, at Offset, is a mark: at the beginning, after a '/', or after 30 others
	NotNormalized         // Rune, at Offset, is written otherwise in Normalization Form C
	Reserved              // it begins like the nodes' own names
	NotPattern            // it has a '*' where patterns have none, or is empty
	NotIdentity           // it does not begin as identities do
)

// Error says what is wrong with a text: a code and values, which mean the same on every node. Error words
// them for people; the words may differ from version to version.
type Error struct {
	Problem Problem
	Text    string // "" where it is not to be repeated
	Rune    rune
	Offset  int // of Rune in Text, in bytes from 0
	Limit   int // bytes
}

func tooLong(text string, limit int) *Error {
	return &Error{Problem: TooLong, Text: text, Limit: limit}
}

// Error says what is wrong, without the name of the field: "pay\u200bments": U+200B at byte 4 is not allowed.
func (e *Error) Error() string {
	switch {
	case e.Text == "" || e.Problem == TooLong || e.Problem == NotUTF8:
		return e.Plain()
	case e.Problem == Reserved, e.Problem == NotPattern, e.Problem == NotIdentity:
		return strconv.Quote(e.Text) + " " + e.Plain()
	case e.Problem == MisplacedMark || e.Problem == NotNormalized:
		return strconv.QuoteToASCII(e.Text) + ": " + e.Plain()
	}
	return strconv.Quote(e.Text) + ": " + e.Plain()
}

// Plain is Error without the text itself. Bytes are counted from 1.
func (e *Error) Plain() string {
	switch e.Problem {
	case Empty:
		return `is empty; "" is the node's own`
	case TooLong:
		return fmt.Sprintf("is %d bytes long; at most %d are allowed", len(e.Text), e.Limit)
	case NotUTF8:
		return "is not valid UTF-8"
	case BadCharacter:
		return fmt.Sprintf("%s at byte %d is not allowed: %s", e.character(), e.Offset+1, whyNot(e.Rune))
	case MisplacedMark:
		return fmt.Sprintf("%s at byte %d is not allowed there: it is a combining mark, which must follow a character other than '/', at most %d in a row",
			e.character(), e.Offset+1, maxMarks)
	case NotNormalized:
		return fmt.Sprintf("%s at byte %d is written otherwise in Unicode Normalization Form C (NFC); send the text in that form",
			e.character(), e.Offset+1)
	case NotPattern:
		return notPattern(e.Text)
	case NotIdentity:
		return `is no identity; one is "cert:" and the name in a certificate, or "token:" and the name of a token`
	case Reserved:
		return fmt.Sprintf("begins with %q, which is kept for the node's own names", rollcallv1.OwnPrefix)
	}
	return "is not allowed"
}

// notPattern says what is wrong with a text that is to be a pattern, and what was probably meant.
func notPattern(text string) string {
	const all = `for all services use "*"`
	base := strings.TrimRight(text, "*")
	switch {
	case text == "":
		return `is empty; give the name of a service, or a pattern such as "shop/*"; ` + all
	case text == Switch:
		return "is for overrides only; " + all
	case base == "" || base == "/" || base == ".":
		return "is not a pattern; " + all
	case strings.Contains(base, "*"):
		return `is not a pattern: a '*' can stand only at the end, as in "shop/*" and "shop.*"`
	case strings.HasSuffix(base, "/") || strings.HasSuffix(base, "."):
		return fmt.Sprintf("is not a pattern; use %q", base+"*")
	}
	return fmt.Sprintf("is not a pattern: it would cover %s, too; use %q or %q", strconv.Quote(base+"x"), base+"/*", base+".*")
}

// character names the character that is wrong: '*', or U+200B if it is not ASCII or does not show.
func (e *Error) character() string {
	if Shows(e.Rune) && e.Rune <= unicode.MaxASCII {
		return fmt.Sprintf("%q", e.Rune)
	}
	return fmt.Sprintf("%U", e.Rune)
}

// whyNot says why a text must not hold r.
func whyNot(r rune) string {
	switch {
	case r == '*' || r == '=' || r == ',':
		return "'*', '=' and ',' are kept for patterns and lists"
	case isControl(r):
		return "it is a control character"
	case unicode.IsSpace(r) || unicode.In(r, unicode.Z):
		return "it is white space"
	case unicode.Is(unicode.Co, r):
		return "it is for private use, and looks different everywhere"
	case r == unicode.ReplacementChar || r == 0xFFFC:
		return "it stands for something that was lost"
	case unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return "it does not show"
	case !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S):
		return "it is not a character of Unicode " + UnicodeVersion
	}
	// Go may know a newer Unicode than this package: then r is one of the blank symbols, or a newer one.
	return "it does not show, or is newer than Unicode " + UnicodeVersion
}
