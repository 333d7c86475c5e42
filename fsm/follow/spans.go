package follow

import (
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

// span is a range of names, from one on and before another; "" is no end. An event of an override says of no
// service what becomes of it: all that the override covers is read once more, page by page, like the first state.
type span struct{ from, to string }

func spanOf(p string) span {
	from, to := pattern.Range(p)
	return span{from, to}
}

func (s span) has(name string) bool { return name >= s.from && (s.to == "" || name < s.to) }

// within returns the names that two spans have in common; false: there are none.
func (s span) within(other span) (span, bool) {
	part := span{max(s.from, other.from), s.to}
	if part.to == "" || other.to != "" && other.to < part.to {
		part.to = other.to
	}
	return part, part.to == "" || part.from < part.to
}

// maxSpans is how many spans are kept. Beyond, they become one.
const maxSpans = 64

// addSpan adds one to spans, which are in order and apart from each other.
func addSpan(spans []span, one span) []span {
	all := append(slices.Clone(spans), one)
	slices.SortFunc(all, func(a, b span) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	merged := all[:1]
	for _, s := range all[1:] {
		last := &merged[len(merged)-1]
		switch {
		case last.to != "" && s.from > last.to:
			merged = append(merged, s)
		case last.to != "" && (s.to == "" || s.to > last.to):
			last.to = s.to
		}
	}
	if len(merged) > maxSpans {
		merged = append(merged[:0], span{merged[0].from, merged[len(merged)-1].to})
	}
	return merged
}
