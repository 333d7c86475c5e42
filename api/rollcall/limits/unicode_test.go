package limits

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ofGo skips where Go's own tables are of another Unicode than this package's.
func ofGo(t testing.TB) {
	t.Helper()
	if unicode.Version != UnicodeVersion || norm.Version != UnicodeVersion {
		t.Skipf("Go has Unicode %s, golang.org/x/text %s; the tables are of %s", unicode.Version, norm.Version, UnicodeVersion)
	}
}

// blank are the symbols and marks that do not show although Unicode does not call them ignorable.
var blank = []rune{0x2800, 0xFFFC, 0xFFFD, 0x16FE4, 0x1D159}

func isAllowed(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) &&
		!slices.Contains(blank, r) && r != '*' && r != '=' && r != ','
}

// TestEveryCharacter compares what is said of each code point, alone and after a letter, with Go's tables.
func TestEveryCharacter(t *testing.T) {
	ofGo(t)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		if got, want := Shows(r), isAllowed(r) || r == '*' || r == '=' || r == ','; got != want {
			t.Errorf("%U: Shows is %v", r, got)
		}
		for _, before := range []string{"a", "", "a/"} {
			name := before + string(r)
			want := isAllowed(r) && norm.NFC.IsNormalString(name) && (before == "a" || !unicode.Is(unicode.M, r))
			err := Name(name)
			if (err == nil) != want {
				t.Errorf("%U after %q: %v", r, before, err)
			}
			if err == nil {
				continue
			}
			if err.Rune != r || err.Offset != len(before) {
				t.Errorf("%U after %q: the error names %U at %d", r, before, err.Rune, err.Offset)
			}
		}
	}
}

// TestEveryPairIsNormalizedAsInGo puts every character that takes part in normalization behind every other.
func TestEveryPairIsNormalizedAsInGo(t *testing.T) {
	ofGo(t)
	var firsts, seconds []rune
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if !Shows(r) {
			continue
		}
		p := norm.NFC.PropertiesString(string(r))
		hangul := 0xAC00 <= r && r <= 0xD7A3
		if len(p.Decomposition()) > 0 && (!hangul || r%5 == 0) {
			firsts = append(firsts, r)
		}
		if p.CCC() > 0 || contains(joining, r) {
			seconds = append(seconds, r)
		}
	}
	firsts = append(firsts, []rune("aAeiouωбঅ가ᄀ각")...)
	for _, first := range firsts {
		for _, second := range seconds {
			text := string([]rune{first, second})
			if got, want := normalized(text) == nil, norm.NFC.IsNormalString(text); got != want {
				t.Errorf("%+q: %v, want %v", text, got, want)
			}
		}
	}
}

// checkNormalized compares normalized with Go for the characters of s that show.
func checkNormalized(t *testing.T, s string) {
	t.Helper()
	s = strings.Map(func(r rune) rune {
		if !Shows(r) {
			return -1
		}
		return r
	}, s)
	for _, text := range []string{s, norm.NFD.String(s)} {
		if got, want := normalized(text) == nil, norm.NFC.IsNormalString(text); got != want {
			t.Errorf("%+q: %v, want %v", text, got, want)
		}
	}
	if err := normalized(norm.NFC.String(s)); err != nil && !strings.ContainsRune(norm.NFC.String(s), 0x34F) {
		t.Errorf("%+q, which is in form C: %v", norm.NFC.String(s), err)
	}
}

// TestNormalizedAsInGo tries random texts of characters that take part in normalization.
func TestNormalizedAsInGo(t *testing.T) {
	ofGo(t)
	var parts []rune
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if Shows(r) && (contains(joining, r) || combiningClass(r) > 0) {
			parts = append(parts, r)
		}
	}
	for _, c := range composites {
		parts = append(parts, c.whole, c.first)
	}
	parts = append(parts, []rune("aAeé가각ᄀ")...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		text := make([]rune, 1+random.IntN(6))
		for i := range text {
			text[i] = parts[random.IntN(len(parts))]
		}
		checkNormalized(t, string(text))
	}
	for n := 28; n < 34; n++ {
		checkNormalized(t, "a"+strings.Repeat("\u0301", n))
		checkNormalized(t, "q"+strings.Repeat("\u0301", n))
		checkNormalized(t, strings.Repeat("q"+strings.Repeat("\u0301", n-1), 2))
		checkNormalized(t, "é"+strings.Repeat("\u0301", n))
	}
}

func FuzzNormalized(f *testing.F) {
	for _, s := range []string{"e\u0301", "\u1ebf\u0323", "한글", "ᄒ\u1161\u11ab", "q\u0307\u0323", "\u09c7\u09be", "a" + strings.Repeat("\u0301", 31)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ofGo(t)
		checkNormalized(t, s)
	})
}
