package rules

import (
	"math/bits"
	"slices"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

const isServing = healthpb.HealthCheckResponse_SERVING

// Services are the services of one state, as they are reported.
type Services interface {
	// Total is how many names there are from one on, and before another; "" is no end.
	Total(from, to string) int64
	// Reported is false if there is no service of a name.
	Reported(name string) (Status, bool)
	// Scan visits the services of a range, by name.
	Scan(from, to string, visit func(name string, reported Status))
}

// Rule is a rule with its name. It never changes.
type Rule struct {
	Name string
	*logv1.Rule
}

// Needed is how many of so many services must be SERVING.
func (r Rule) Needed(total int64) int64 {
	return needed(r.GetMinServing(), int64(r.GetMinPercent()), total)
}

func needed(least, percent, total int64) int64 { return max(least, (percent*total+99)/100) }

// Count is how many services a pattern covers, how many of them are reported as SERVING, and how many are SERVING
// with the overrides.
type Count struct{ Total, Reported, Serving int64 }

func (c *Count) add(by Count) {
	c.Total += by.Total
	c.Reported += by.Reported
	c.Serving += by.Serving
}

// Book holds the rules and counts the services of their patterns. It also counts those of the overrides that
// cover a part of a rule's pattern: so no service has to be looked at when such an override ends. nil has no
// rules.
//
// The counts of a book that is part of a state change with the state: see Apply. All else in it never changes.
type Book struct {
	slots   []slot           // what is counted
	exact   map[string]int32 // name → place in slots
	prefix  map[string]int32 // prefix → place in slots
	all     int32            // place of "*"; -1: it is not counted
	lengths [5]uint64        // bit n: a prefix has n bytes

	counts []*chunk
	gen    uint64 // chunks of this generation belong to this book alone
}

// slot is a pattern that is counted.
type slot struct {
	pattern string
	rules   []Rule // by name; none: it is an override's
	// The greatest of the rules: if this many are SERVING no rule is broken.
	minServing, minPercent int64
}

const chunkSlots = 32

// chunk holds the counts of some slots. A book and the views of earlier states share those that did not change.
type chunk struct {
	gen    uint64
	counts [chunkSlots]Count
}

// Build returns a book of these rules; nil for none. What before counts, as the services and overrides are now,
// is taken from there; the rest is counted.
func Build(before *Book, rules []Rule, over *layers.Layers, services Services) *Book {
	if len(rules) == 0 {
		return nil
	}
	at := map[string]*slot{}
	for _, r := range rules {
		s := at[r.GetPattern()]
		if s == nil {
			s = &slot{pattern: r.GetPattern()}
			at[s.pattern] = s
		}
		s.rules = append(s.rules, r)
		s.minServing, s.minPercent = max(s.minServing, r.GetMinServing()), max(s.minPercent, int64(r.GetMinPercent()))
	}
	var inner []string
	for p := range at {
		over.Within(p, func(o *layers.Override) {
			if _, many := pattern.Prefix(o.Pattern); many && o.Pattern != pattern.Switch {
				inner = append(inner, o.Pattern)
			}
		})
	}
	for _, p := range inner {
		if at[p] == nil {
			at[p] = &slot{pattern: p}
		}
	}
	b := &Book{exact: map[string]int32{}, prefix: map[string]int32{}, all: -1}
	if before != nil {
		b.gen = before.gen + 1
	}
	for _, s := range at {
		slices.SortFunc(s.rules, func(a, b Rule) int { return compare(a.Name, b.Name) })
		b.slots = append(b.slots, *s)
	}
	slices.SortFunc(b.slots, func(a, b slot) int { return compare(a.pattern, b.pattern) })
	b.counts = make([]*chunk, (len(b.slots)+chunkSlots-1)/chunkSlots)
	for i := range b.counts {
		b.counts[i] = &chunk{gen: b.gen}
	}
	var missing []int32
	for i := range b.slots {
		b.index(int32(i))
		if j := before.find(b.slots[i].pattern); j >= 0 {
			*b.count(int32(i)) = *before.count(j)
		} else {
			missing = append(missing, int32(i))
		}
	}
	b.recount(missing, over, services)
	return b
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (b *Book) index(i int32) {
	p := b.slots[i].pattern
	prefix, many := pattern.Prefix(p)
	switch {
	case p == pattern.All:
		b.all = i
	case many:
		b.prefix[prefix] = i
		b.lengths[len(prefix)/64] |= 1 << (len(prefix) % 64)
	default:
		b.exact[p] = i
	}
}

// find returns the place of a pattern; -1: it is not counted.
func (b *Book) find(p string) int32 {
	if b == nil {
		return -1
	}
	prefix, many := pattern.Prefix(p)
	i, ok := int32(0), false
	switch {
	case p == pattern.All:
		return b.all
	case many:
		i, ok = b.prefix[prefix]
	default:
		i, ok = b.exact[p]
	}
	if !ok || p == pattern.Switch {
		return -1
	}
	return i
}

// count returns the counts of a slot, to be read; to be written only if the chunk belongs to b.
func (b *Book) count(i int32) *Count { return &b.counts[i/chunkSlots].counts[i%chunkSlots] }

// own returns the counts of a slot, to be written.
func (b *Book) own(i int32) *Count {
	c := &b.counts[i/chunkSlots]
	if (*c).gen != b.gen {
		next := **c
		next.gen = b.gen
		*c = &next
	}
	return &(*c).counts[i%chunkSlots]
}

// covering appends the places of what covers a service.
func (b *Book) covering(service string, into []int32) []int32 {
	if i, ok := b.exact[service]; ok {
		into = append(into, i)
	}
	if len(b.prefix) > 0 {
		most := min(len(service), 64*len(b.lengths)-1)
		for w := most / 64; w >= 0; w-- {
			word := b.lengths[w]
			if w == most/64 {
				word &= 2<<(most%64) - 1
			}
			for ; word != 0; word &= word - 1 {
				n := 64*w + bits.TrailingZeros64(word)
				if c := service[n-1]; c == '/' || c == '.' {
					if i, ok := b.prefix[service[:n]]; ok {
						into = append(into, i)
					}
				}
			}
		}
	}
	if b.all >= 0 {
		into = append(into, b.all)
	}
	return into
}

// recount counts some slots anew, looking at each service once.
func (b *Book) recount(some []int32, over *layers.Layers, services Services) {
	if len(some) == 0 {
		return
	}
	wanted := make([]bool, len(b.slots))
	for _, i := range some {
		wanted[i] = true
		*b.own(i) = Count{}
	}
	var room [16]int32
	for _, i := range some {
		p := b.slots[i].pattern
		prefix, _ := pattern.Prefix(p)
		if slices.ContainsFunc(b.covering(prefix, room[:0]), func(j int32) bool {
			return i != j && wanted[j] && pattern.Contains(b.slots[j].pattern, p) // not the name "a/" of "a/*"
		}) {
			continue // it is counted with one that contains it
		}
		from, to := pattern.Range(p)
		alone, layered := len(some) == 1, over.Live() > 0
		sum := b.own(i)
		services.Scan(from, to, func(name string, reported Status) {
			c := Count{Total: 1}
			if reported == isServing {
				c.Reported, c.Serving = 1, 1
			}
			if layered {
				if o := over.Decides(name); o != nil {
					c.Serving = 0
					if o.Serves() {
						c.Serving = 1
					}
				}
			}
			if alone {
				sum.add(c)
				return
			}
			for _, j := range b.covering(name, room[:0]) {
				if wanted[j] {
					b.own(j).add(c)
				}
			}
		})
	}
}

// Count returns what is counted of a rule's pattern.
func (b *Book) Count(p string) Count {
	i := b.find(p)
	if i < 0 {
		return Count{}
	}
	return *b.count(i)
}

// Len is how many patterns are counted.
func (b *Book) Len() int {
	if b == nil {
		return 0
	}
	return len(b.slots)
}

// Snapshot returns b as it is now, for a view: it never changes. From now on b copies what it changes.
func (b *Book) Snapshot() *Book {
	if b == nil {
		return nil
	}
	view := *b
	view.counts = slices.Clone(b.counts)
	b.gen++
	return &view
}

// Same says whether two books count the same.
func (b *Book) Same(other *Book) bool {
	if b.Len() != other.Len() {
		return false
	}
	for i := 0; i < b.Len(); i++ {
		if b.slots[i].pattern != other.slots[i].pattern || *b.count(int32(i)) != *other.count(int32(i)) {
			return false
		}
	}
	return true
}
