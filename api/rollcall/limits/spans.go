package limits

import "sort"

// span is a range of characters, both ends included.
type span struct{ first, last rune }

// classSpan is a range of characters of one canonical combining class.
type classSpan struct {
	first, last rune
	class       uint8
}

// composite is a character that is composed of two.
type composite struct{ whole, first, second rune }

// contains reports whether r is in one of spans, which are in order.
func contains(spans []span, r rune) bool {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].last >= r })
	return i < len(spans) && spans[i].first <= r
}

// combiningClass is the canonical combining class of r.
func combiningClass(r rune) uint8 {
	i := sort.Search(len(combiningClasses), func(i int) bool { return combiningClasses[i].last >= r })
	if i < len(combiningClasses) && combiningClasses[i].first <= r {
		return combiningClasses[i].class
	}
	return 0
}
