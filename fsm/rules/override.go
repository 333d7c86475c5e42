package rules

import (
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// Override returns the book of a state in which the override of p was set, changed or ended: before are the
// layers of b, after those of the new state. The services are the same. b stays as it is. What is counted for an
// override that has ended is still counted: see Tidy.
func (b *Book) Override(before, after *layers.Layers, p string, services Services) *Book {
	if b == nil {
		return nil
	}
	c := calculation{b, services}
	if p == pattern.Switch {
		p = pattern.All // which covers the same
	}
	inside := false // a rule's pattern is wider than p
	var wider []int32
	for i := range b.slots {
		if s := &b.slots[i]; s.pattern != p && pattern.Contains(s.pattern, p) {
			wider = append(wider, int32(i))
			inside = inside || len(s.rules) > 0
		}
	}
	_, isMany := pattern.Prefix(p)
	counted := b.find(p)
	if inside && isMany && counted < 0 && after.Find(p) != nil {
		// It is counted from now on.
		next := Build(b, b.allRules(), after, services)
		next.own(next.find(p)).Serving = calculation{next, services}.serving(p, before)
		return next.Override(before, after, p, services)
	}
	next := *b
	next.counts = slices.Clone(b.counts)
	next.gen = b.gen + 1
	if len(wider) > 0 {
		by := Count{Serving: c.serving(p, after) - c.serving(p, before)}
		for _, i := range wider {
			next.own(i).add(by)
		}
	}
	for i := range b.slots {
		if pattern.Contains(p, b.slots[i].pattern) {
			next.own(int32(i)).Serving = c.serving(b.slots[i].pattern, after)
		}
	}
	return &next
}

// Tidy returns b without what is counted only for overrides that have ended. changed are the patterns of the
// overrides that changed since b was tidy last, over are the layers of now. One call for many that end together
// makes one new book.
func (b *Book) Tidy(changed []string, over *layers.Layers, services Services) *Book {
	for _, p := range changed {
		if i := b.find(p); i >= 0 && len(b.slots[i].rules) == 0 && over.Find(p) == nil {
			return Build(b, b.allRules(), over, services)
		}
	}
	return b
}

func (b *Book) allRules() (all []Rule) {
	for i := range b.slots {
		all = append(all, b.slots[i].rules...)
	}
	return all
}

// calculation computes how many services are SERVING from how many are reported so, and from the overrides.
type calculation struct {
	book     *Book
	services Services
}

// serving returns how many of the services that p covers are SERVING under some layers.
func (c calculation) serving(p string, over *layers.Layers) int64 {
	return c.under(p, over.Covering(p), over)
}

// under is serving if decides decides over the services that no override within p covers (nil: none does).
func (c calculation) under(p string, decides *layers.Override, over *layers.Layers) int64 {
	n := c.shown(p, decides)
	if decides != nil && decides.Pattern == pattern.Switch {
		return n
	}
	over.Inner(p, func(o *layers.Override) {
		n += c.under(o.Pattern, o, over) - c.shown(o.Pattern, decides)
	})
	return n
}

// shown returns how many of the services that p covers would be SERVING if nothing but decides covered them.
func (c calculation) shown(p string, decides *layers.Override) int64 {
	switch {
	case decides == nil:
		return c.reported(p)
	case decides.Serves():
		return c.total(p)
	}
	return 0
}

func (c calculation) total(p string) int64 {
	if i := c.book.find(p); i >= 0 {
		return c.book.count(i).Total
	}
	if _, many := pattern.Prefix(p); !many {
		if _, ok := c.services.Reported(p); ok {
			return 1
		}
		return 0
	}
	return c.services.Total(pattern.Range(p))
}

func (c calculation) reported(p string) (n int64) {
	if i := c.book.find(p); i >= 0 {
		return c.book.count(i).Reported
	}
	if _, many := pattern.Prefix(p); !many {
		if s, ok := c.services.Reported(p); ok && s == isServing {
			return 1
		}
		return 0
	}
	from, to := pattern.Range(p)
	c.services.Scan(from, to, func(_ string, reported Status) {
		if reported == isServing {
			n++
		}
	})
	return n
}
