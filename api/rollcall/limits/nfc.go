package limits

import (
	"slices"
	"sort"
)

// This file decides whether a text is in Unicode Normalization Form C (Unicode Standard Annex 15). The
// text holds only characters that show: the tables know no others.

// maxMarks is the greatest number of characters in a row, fully decomposed, that a text may hold whose
// combining class is not 0. It is that of the Stream-Safe Text Format of Annex 15, which golang.org/x/text/unicode/norm holds to.
const maxMarks = 30

// normalized says where text is not in Normalization Form C; nil if it is.
func normalized(text string) *Error {
	bad := func(r rune, at int) *Error {
		return &Error{Problem: NotNormalized, Text: text, Rune: r, Offset: at}
	}
	var segment []rune // from the last character on that is never composed with one before it
	var suspect rune   // of segment: the first that may be composed with one before it
	suspectAt := -1    // its place in text; -1: there is none
	var class uint8
	var base rune  // the last character of class 0
	var inARow int // characters of another class since, those that base decomposes to included
	for at, r := range text {
		before := class
		switch class = combiningClass(r); {
		case contains(neverNFC, r):
			return bad(r, at)
		case class != 0 && class < before:
			return bad(r, at)
		}
		if class == 0 {
			inARow, base = 0, r
		} else {
			if inARow == 0 && base != 0 {
				inARow = len(decompose(nil, base)) - 1
			}
			if inARow++; inARow > maxMarks {
				return &Error{Problem: MisplacedMark, Text: text, Rune: r, Offset: at}
			}
		}
		joins := contains(joining, r)
		if class == 0 && !joins {
			if suspectAt >= 0 && !composed(segment) {
				return bad(suspect, suspectAt)
			}
			segment, suspectAt = segment[:0], -1
		} else if joins && suspectAt < 0 {
			suspect, suspectAt = r, at
		}
		segment = append(segment, r)
	}
	if suspectAt >= 0 && !composed(segment) {
		return bad(suspect, suspectAt)
	}
	return nil
}

// composed reports whether segment stays as it is when it is decomposed and composed again.
func composed(segment []rune) bool {
	var parts []rune
	for _, r := range segment {
		parts = decompose(parts, r)
	}
	order(parts)
	return slices.Equal(compose(parts), segment)
}

// Hangul syllables are composed of a leading consonant, a vowel and, perhaps, a trailing consonant.
const (
	hangulBase     = 0xAC00
	leadingBase    = 0x1100
	vowelBase      = 0x1161
	trailingBase   = 0x11A7 // one before the first
	leadingCount   = 19
	vowelCount     = 21
	trailingCount  = 28
	syllablesOfOne = vowelCount * trailingCount // leading consonant
	hangulCount    = leadingCount * syllablesOfOne
)

// decompose appends the full canonical decomposition of r.
func decompose(to []rune, r rune) []rune {
	if s := r - hangulBase; 0 <= s && s < hangulCount {
		to = append(to, leadingBase+s/syllablesOfOne, vowelBase+s%syllablesOfOne/trailingCount)
		if t := s % trailingCount; t > 0 {
			to = append(to, trailingBase+t)
		}
		return to
	}
	i := sort.Search(len(composites), func(i int) bool { return composites[i].whole >= r })
	if i < len(composites) && composites[i].whole == r {
		return append(decompose(to, composites[i].first), composites[i].second)
	}
	return append(to, r)
}

// order puts characters that combine with the same one into canonical order.
func order(runes []rune) {
	for i, r := range runes {
		class := combiningClass(r)
		if class == 0 {
			continue
		}
		at := i
		for at > 0 && combiningClass(runes[at-1]) > class {
			runes[at] = runes[at-1]
			at--
		}
		runes[at] = r
	}
}

// compose composes what can be composed, in place.
func compose(runes []rune) []rune {
	starter := -1    // place of the last character of class 0 in the result
	var before uint8 // class of the last character of the result, if it is not the starter
	out := runes[:0]
	for _, r := range runes {
		class := combiningClass(r)
		adjacent := starter == len(out)-1
		if starter >= 0 && (adjacent || before < class && before != 0) {
			if whole, ok := compositeOf(out[starter], r); ok {
				out[starter] = whole
				continue
			}
		}
		if class == 0 {
			starter = len(out)
		}
		before = class
		out = append(out, r)
	}
	return out
}

// compositeOf is the character that first and second are composed to.
func compositeOf(first, second rune) (rune, bool) {
	if l, v := first-leadingBase, second-vowelBase; 0 <= l && l < leadingCount && 0 <= v && v < vowelCount {
		return hangulBase + (l*vowelCount+v)*trailingCount, true
	}
	if s, t := first-hangulBase, second-trailingBase; 0 <= s && s < hangulCount && s%trailingCount == 0 && 0 < t && t < trailingCount {
		return first + t, true
	}
	i := sort.Search(len(byParts), func(i int) bool {
		c := composites[byParts[i]]
		return c.first > first || c.first == first && c.second >= second
	})
	if i < len(byParts) {
		if c := composites[byParts[i]]; c.first == first && c.second == second {
			return c.whole, true
		}
	}
	return 0, false
}
