package pattern

import (
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	// All covers all services. Every other pattern is more specific.
	All = "*"
	// Switch covers all services, and decides over every other pattern.
	Switch = "**"
)

// Prefix returns what the names begin with that p covers. ok is false if p is a name: it covers that one only.
func Prefix(p string) (prefix string, ok bool) {
	switch {
	case p == All, p == Switch:
		return "", true
	case strings.HasSuffix(p, "/*"), strings.HasSuffix(p, ".*"):
		return p[:len(p)-1], true
	}
	return p, false
}

// Covers says whether p covers a service.
func Covers(p, service string) bool {
	if rollcallv1.IsOwn(service) {
		return false
	}
	prefix, many := Prefix(p)
	if !many {
		return p == service
	}
	return strings.HasPrefix(service, prefix)
}

// Contains says whether outer covers all that inner covers.
func Contains(outer, inner string) bool {
	a, many := Prefix(outer)
	b, several := Prefix(inner)
	if !many {
		return !several && a == b
	}
	return strings.HasPrefix(b, a)
}

// Over says whether a decides over b where both cover a service: "**" over all, else the one that covers less.
func Over(a, b string) bool {
	switch {
	case a == b || b == Switch:
		return false
	case a == Switch:
		return true
	}
	return Contains(b, a)
}

// Range returns the range of names that p covers: those from from on, and before to. to is "" if there is no
// end.
func Range(p string) (from, to string) {
	prefix, many := Prefix(p)
	if !many {
		return p, p + "\x00"
	}
	return prefix, After(prefix)
}

// After returns the first text that sorts after all that begin with prefix; "" if there is none.
func After(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}

// Each calls visit with every pattern that can cover a service, first with the one that decides over the
// others, until visit returns false.
func Each(service string, visit func(p string) (more bool)) {
	if rollcallv1.IsOwn(service) || !visit(Switch) || !visit(service) {
		return
	}
	for i := len(service) - 1; i > 0; i-- {
		if c := service[i]; (c == '/' || c == '.') && !visit(service[:i+1]+All) {
			return
		}
	}
	visit(All)
}

// Meets says whether p covers, or is about, names that begin with prefix: one of the two begins with the other.
func Meets(p, prefix string) bool {
	covered, many := Prefix(p)
	return strings.HasPrefix(covered, prefix) || many && strings.HasPrefix(prefix, covered)
}
