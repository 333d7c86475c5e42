package limits

import (
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Switch is the pattern of the whole registry's switch: see package pattern.
const Switch = "**"

// Pattern says what is wrong with the pattern of an override; nil if nothing is: see package pattern. "shop*"
// is none: it would cover shopify, too.
func Pattern(p string) *Error {
	switch {
	case len(p) > MaxPatternBytes:
		return tooLong(p, MaxPatternBytes)
	case p == "*" || p == Switch:
		return nil
	}
	base := p
	if n := len(p) - 2; n >= 0 && (p[n:] == "/*" || p[n:] == ".*") {
		base = p[:n]
		if p[:n+1] == rollcallv1.OwnPrefix {
			return &Error{Problem: Reserved, Text: p}
		}
	}
	if base == "" || strings.Contains(base, "*") {
		return &Error{Problem: NotPattern, Text: p}
	}
	err := Name(base)
	if err != nil {
		err.Text = p
	}
	return err
}

// RulePattern is Pattern for a rule: there is no "**", because "*" covers the same services.
func RulePattern(p string) *Error {
	if p == Switch {
		return &Error{Problem: NotPattern, Text: p}
	}
	return Pattern(p)
}
