package rest

import (
	"cmp"
	"slices"
	"sync"
)

// counts counts the requests that have been answered.
type counts struct {
	mu sync.Mutex // guards of
	of map[counted]int64
}

type counted struct {
	route string
	code  int
}

// noRoute is the route of requests that have none.
const noRoute = "none"

func (n *counts) add(route string, code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = make(map[counted]int64)
	}
	n.of[counted{cmp.Or(route, noRoute), code}]++
}

// Count is how many requests of a route were answered with a status; of a stream, when it ended.
type Count struct {
	Route string // "GET /api/v1/services/{service}"; "none" of those without one
	Code  int
	Count int64
}

// Counts returns the requests that have been answered, in order of route and status.
func (h *Handler) Counts() []Count {
	h.counts.mu.Lock()
	defer h.counts.mu.Unlock()
	all := make([]Count, 0, len(h.counts.of))
	for of, n := range h.counts.of {
		all = append(all, Count{of.route, of.code, n})
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Code, b.Code)) })
	return all
}
