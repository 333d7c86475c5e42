package rules

import (
	"slices"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// Changes are what a command would do to the counts of a book.
type Changes struct {
	list []countChange
	at   map[int32]int // where in list a slot is, once there are many
}

type countChange struct {
	slot int32
	by   Count
}

// Add adds what happens to one service.
func (c *Changes) Add(b *Book, service string, by Count) {
	if b == nil || by == (Count{}) {
		return
	}
	var room [16]int32
	for _, i := range b.covering(service, room[:0]) {
		c.of(i).add(by)
	}
}

// many is for how many slots a list is quicker than a map.
const many = 16

func (c *Changes) of(slot int32) *Count {
	if c.at != nil {
		if i, ok := c.at[slot]; ok {
			return &c.list[i].by
		}
	} else if i := slices.IndexFunc(c.list, func(x countChange) bool { return x.slot == slot }); i >= 0 {
		return &c.list[i].by
	}
	c.list = append(c.list, countChange{slot: slot})
	switch n := len(c.list); {
	case c.at != nil:
		c.at[slot] = n - 1
	case n > many:
		c.at = make(map[int32]int, 2*n)
		for i, x := range c.list {
			c.at[x.slot] = i
		}
	}
	return &c.list[len(c.list)-1].by
}

// Apply adds changes to the counts.
func (b *Book) Apply(c *Changes) {
	for i := range c.list {
		b.own(c.list[i].slot).add(c.list[i].by)
	}
}

// Broken returns the rules that changes would break, by name: fewer services would be SERVING than before, and
// fewer than the rule needs.
func (b *Book) Broken(c *Changes) (broken []*logv1.BrokenRule) {
	for i := range c.list {
		x := &c.list[i]
		if x.by.Serving < 0 {
			after := *b.count(x.slot)
			after.add(x.by)
			broken = b.slots[x.slot].broken(after, broken)
		}
	}
	sortBroken(broken)
	return broken
}

// BrokenBy returns the rules of b that are broken in after and were not broken so far in b, by name, as Broken
// does.
func (b *Book) BrokenBy(after *Book) (broken []*logv1.BrokenRule) {
	for i := 0; i < after.Len(); i++ {
		s := &after.slots[i]
		if len(s.rules) == 0 {
			continue
		}
		j := int32(i)
		if b.Len() <= i || b.slots[i].pattern != s.pattern {
			j = b.find(s.pattern)
		}
		if now := *after.count(int32(i)); j >= 0 && now.Serving < b.count(j).Serving {
			broken = s.broken(now, broken)
		}
	}
	sortBroken(broken)
	return broken
}

func (s *slot) broken(now Count, into []*logv1.BrokenRule) []*logv1.BrokenRule {
	if now.Serving >= needed(s.minServing, s.minPercent, now.Total) {
		return into
	}
	for _, r := range s.rules {
		if b := r.Broken(now); b != nil {
			into = append(into, b)
		}
	}
	return into
}

// Broken returns by how much r does not hold; nil: it holds.
func (r Rule) Broken(now Count) *logv1.BrokenRule {
	n := r.Needed(now.Total)
	if now.Serving >= n {
		return nil
	}
	return &logv1.BrokenRule{Rule: r.Name, Pattern: r.GetPattern(), Needed: n, Serving: now.Serving, Total: now.Total}
}

func sortBroken(broken []*logv1.BrokenRule) {
	slices.SortFunc(broken, func(a, b *logv1.BrokenRule) int { return compare(a.GetRule(), b.GetRule()) })
}

// Empty says whether nothing that is counted changes.
func (c *Changes) Empty() bool { return len(c.list) == 0 }
