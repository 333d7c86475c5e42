package limits

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// TestTexts: what identifies is one line of what shows; a reason is any text without control characters.
func TestTexts(t *testing.T) {
	line := []func(string) *Error{Actor, RequestID, LeaseID, MemberField, Address}
	for text, want := range map[string]Problem{
		"":                                     0,
		"Ann Smith":                            0,
		"a=b,c*":                               0,
		"José@büro":                            0,
		"한글":                                   0,
		"two\nlines":                           BadCharacter,
		"a\tb":                                 BadCharacter,
		"\x7f":                                 BadCharacter,
		"a\u0085b":                             BadCharacter,
		"a\u00a0b":                             BadCharacter,
		"ann\u202e":                            BadCharacter,
		"\ufeffann":                            BadCharacter,
		"\u3164":                               BadCharacter,
		"Jose\u0301":                           NotNormalized,
		"\u212bngstr\u00f6m":                   NotNormalized,
		"a\xffb":                               NotUTF8,
		"\xff\u200b":                           NotUTF8,
		strings.Repeat("a", MaxAddressBytes+1): TooLong,
	} {
		for i, check := range line {
			if got := problemOf(check(text)); got != want {
				t.Errorf("%d: %+q: problem %d, want %d", i, text, got, want)
			}
		}
	}
	for text, want := range map[string]Problem{
		"":                                    0,
		"two\nlines,\ta tab":                  0,
		"❤\ufe0f \u200f\u202e e\u0301 \u00a0": 0,
		"ding\a":                              BadCharacter,
		"\x1b[2J":                             BadCharacter,
		"a\rb":                                BadCharacter,
		"\u009b":                              BadCharacter,
		"a\xff":                               NotUTF8,
		strings.Repeat("a", MaxReasonBytes+1): TooLong,
	} {
		if got := problemOf(Reason(text)); got != want {
			t.Errorf("reason %+q: problem %d, want %d", text, got, want)
		}
	}
}

func problemOf(err *Error) Problem {
	if err == nil {
		return 0
	}
	return err.Problem
}

// TestErrorsNameTheCharacter and where it is, and repeat nothing that hides.
func TestErrorsNameTheCharacter(t *testing.T) {
	for name, want := range map[string]string{
		"pay\u200bments": `"pay\u200bments": U+200B at byte 4 is not allowed: it does not show`,
		"a b":            `"a b": U+0020 at byte 2 is not allowed: it is white space`,
		"a\u2028":        `"a\u2028": U+2028 at byte 2 is not allowed: it is white space`,
		"é\x1b":          `"é\x1b": U+001B at byte 3 is not allowed: it is a control character`,
		"shop*":          `"shop*": '*' at byte 5 is not allowed: '*', '=' and ',' are kept for patterns and lists`,
		"a\ue000":        `"a\ue000": U+E000 at byte 2 is not allowed: it is for private use, and looks different everywhere`,
		"a\ufffd":        `"a�": U+FFFD at byte 2 is not allowed: it stands for something that was lost`,
		"a\u0378":        `"a\u0378": U+0378 at byte 2 is not allowed: it is not a character of Unicode 15.0.0`,
		"cafe\u0301":     `"cafe\u0301": U+0301 at byte 5 is written otherwise in Unicode Normalization Form C (NFC); send the text in that form`,
		"a/\u0301":       `"a/\u0301": U+0301 at byte 3 is not allowed there: it is a combining mark, which must follow a character other than '/', at most 30 in a row`,
		"rollcall.live":  `"rollcall.live" begins with "rollcall.", which is kept for the node's own names`,
		"":               `is empty; "" is the node's own`,
		"\xff":           `is not valid UTF-8`,
	} {
		if err := Name(name); err == nil || err.Error() != want {
			t.Errorf("%+q: %v, want %s", name, err, want)
		}
	}
}

// FuzzName: what is accepted has all that docs/names.md says.
func FuzzName(f *testing.F) {
	for _, s := range []string{"payments", "team/service", "caf\u00e9", "cafe\u0301", "a b", "\u200b", "rollcall.x", "q\u0307", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if err := Name(name); err != nil {
			if err.Rune != 0 && !strings.HasPrefix(name[err.Offset:], string(err.Rune)) {
				t.Errorf("%+q: %U is not at %d", name, err.Rune, err.Offset)
			}
			_ = err.Error()
			return
		}
		if name == "" || len(name) > 256 || !utf8.ValidString(name) || strings.ContainsAny(name, " *=,\n") || strings.HasPrefix(name, "rollcall.") {
			t.Errorf("%+q is accepted", name)
		}
		for _, r := range name {
			if !Shows(r) {
				t.Errorf("%+q is accepted, and %U does not show", name, r)
			}
		}
		if norm.Version == UnicodeVersion && !norm.NFC.IsNormalString(name) {
			t.Errorf("%+q is accepted, and is not in form C", name)
		}
		if Lookup(name) != nil || Actor(name) != nil {
			t.Errorf("%+q can be written, and not looked up, or not be an actor", name)
		}
	})
}
