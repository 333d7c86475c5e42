package pattern

import (
	"cmp"
	"slices"
	"sort"
)

// Span is a range of names: those from From on, and before To. To is "" if there is no end.
type Span struct{ From, To string }

// Beginning is the range of the names that begin with prefix.
func Beginning(prefix string) Span { return Span{prefix, After(prefix)} }

// Single says that s is the range of one name, From.
func (s Span) Single() bool { return s.To == s.From+"\x00" }

// Has says whether a name is in s.
func (s Span) Has(name string) bool { return s.From <= name && (s.To == "" || name < s.To) }

// Spans are ranges of names, in order and apart. Each is Beginning of a prefix, or a single name: what patterns cover is
// nested or apart. nil is none.
type Spans []Span

// Everything is all names.
var Everything = Spans{{}}

// Cover returns what patterns cover together.
func Cover(patterns ...string) Spans {
	spans := make([]Span, len(patterns))
	for i, p := range patterns {
		spans[i].From, spans[i].To = Range(p)
	}
	return union(spans)
}

// Beginnings returns the names that begin with one of prefixes.
func Beginnings(prefixes ...string) Spans {
	spans := make([]Span, len(prefixes))
	for i, p := range prefixes {
		spans[i] = Beginning(p)
	}
	return union(spans)
}

// union puts spans, which are nested or apart, in order, without those that lie within others.
func union(spans []Span) Spans {
	slices.SortFunc(spans, func(a, b Span) int {
		if a.From != b.From {
			return cmp.Compare(a.From, b.From)
		}
		return cmp.Compare(len(a.To), len(b.To)) // the wider one first: "", or the shorter
	})
	var all Spans
	for _, s := range spans {
		if last := len(all) - 1; last < 0 || !all[last].Has(s.From) {
			all = append(all, s)
		}
	}
	return all
}

// Whole says whether s is all names.
func (s Spans) Whole() bool { return len(s) > 0 && s[0] == Span{} }

// Has says whether a name is in s.
func (s Spans) Has(name string) bool {
	_, ok := s.Find(name)
	return ok
}

// Find returns the span that a name is in; false if there is none.
func (s Spans) Find(name string) (Span, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].From > name }) - 1
	if i < 0 || !s[i].Has(name) {
		return Span{}, false
	}
	return s[i], true
}

// And returns the names that are in s and in t.
func (s Spans) And(t Spans) Spans {
	var both Spans
	for i, j := 0, 0; i < len(s) && j < len(t); {
		from, to := max(s[i].From, t[j].From), s[i].To
		sEnds := s[i].To != "" && (t[j].To == "" || s[i].To <= t[j].To)
		if !sEnds {
			to = t[j].To
		}
		if to == "" || from < to {
			both = append(both, Span{from, to})
		}
		if sEnds {
			i++
		} else {
			j++
		}
	}
	return both
}

// Meets says whether a name that p covers can be in s.
func (s Spans) Meets(p string) bool { return len(s.And(Cover(p))) > 0 }

// Contains says whether all that p covers is in s.
func (s Spans) Contains(p string) bool { return slices.Equal(s.And(Cover(p)), Cover(p)) }
