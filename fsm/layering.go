package fsm

import (
	"slices"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/layers"
	"github.com/rollcallhq/rollcall/fsm/rules"
)

// This file is what overrides and rules have to do with a plan, and with the services.

// layering is what a plan does to the layers, and to what the rules count.
type layering struct {
	layers   *layers.Layers
	patterns []string // whose overrides change; none: layers is not set
	book     *rules.Book
	newBook  bool // book is set
	counts   rules.Changes
	broken   []*logv1.BrokenRule // by the command, although they were in force
	dropped  []string            // patterns of ended overrides that are not kept any more
}

var unlayered = &layering{} // nobody writes to it

// layering returns what p does to layers and counts, to be read.
func (p *plan) layering() *layering {
	if p.layered == nil {
		return unlayered
	}
	return p.layered
}

// layer returns the same, to be written.
func (p *plan) layer() *layering {
	if p.layered == nil {
		p.layered = &layering{}
	}
	return p.layered
}

// layersOf returns the layers with the changes of p so far, and whether there were any.
func (p *plan) layersOf(s *state) (*layers.Layers, bool) {
	if l := p.layering(); len(l.patterns) > 0 {
		return l.layers, true
	}
	return s.layers, false
}

func (p *plan) setLayers(l *layers.Layers, changed string) {
	to := p.layer()
	to.layers, to.patterns = l, append(to.patterns, changed)
}

func (p *plan) bookOf(s *state) *rules.Book {
	if l := p.layering(); l.newBook {
		return l.book
	}
	return s.book
}

func (p *plan) setBook(b *rules.Book) {
	to := p.layer()
	to.book, to.newBook = b, true
}

// countService adds to p what happens to one service, for the rules that cover it.
func (s *state) countService(p *plan, name string, before, after *record) {
	if s.book == nil {
		return
	}
	var by rules.Count
	shown := s.layers.Decides(name)
	one := func(r *record, n int64) {
		if r == nil {
			return
		}
		by.Total += n
		if serves(r.status) {
			by.Reported += n
		}
		if shown == nil && serves(r.status) || shown != nil && shown.Serves() {
			by.Serving += n
		}
	}
	one(before, -1)
	one(after, 1)
	p.layer().counts.Add(s.book, name, by)
}

// checkRules refuses p if it breaks a rule that glass does not name. The refusal names all such rules. facts says
// that p tells only what reporters with a lease say is so: then it is refused only by rules that are enforced on
// reports.
func (p *plan) checkRules(s *state, glass breakGlass, facts bool) *logv1.Refusal {
	var broken []*logv1.BrokenRule
	if l := p.layering(); l.newBook {
		broken = s.book.BrokenBy(l.book)
	} else {
		broken = s.book.Broken(&l.counts)
	}
	if len(broken) == 0 {
		return nil
	}
	refused := slices.DeleteFunc(slices.Clone(broken), func(b *logv1.BrokenRule) bool {
		return glass.names(b.GetRule()) || facts && !s.rule(b.GetRule()).GetEnforceReports()
	})
	if len(refused) > 0 {
		return &logv1.Refusal{Reason: logv1.Refusal_REASON_RULE_BROKEN, Broken: refused}
	}
	p.layer().broken = broken
	return nil
}

// breakGlass are the names of the rules that a command may break.
type breakGlass []string

// anyRule is what stands for all names.
var anyRule = breakGlass{"*"}

func (g breakGlass) names(rule string) bool {
	return len(g) > 0 && (slices.Contains(g, anyRule[0]) || slices.Contains(g, rule))
}

// breakGlass checks and returns the rules that cmd may break. They must exist, and a reason must be given.
func (s *state) breakGlass(cmd *logv1.Command) (breakGlass, *logv1.Refusal) {
	const field = "break_glass"
	glass := breakGlass(cmd.GetBreakGlass())
	switch n := len(glass); {
	case n == 0:
		return nil, nil
	case n > limits.MaxBreakGlass:
		return nil, beyond(field, logv1.Refusal_PROBLEM_TOO_MANY, n, limits.MaxBreakGlass)
	case cmd.GetReason() == "":
		return nil, invalid("reason", logv1.Refusal_PROBLEM_REQUIRED)
	}
	for _, name := range glass {
		if name == anyRule[0] {
			continue
		}
		if refusal := textRefusal(field, limits.RuleName(name)); refusal != nil {
			return nil, refusal
		}
		if s.record(ruleKind, name) == nil {
			refusal := of(logv1.Kind_KIND_RULE, name, &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})
			refusal.Field = field
			return nil, refusal
		}
	}
	return glass, nil
}

// tree is the services of a state, as package rules sees them.
type tree struct{ *state }

// Total implements rules.Services.
func (t tree) Total(from, to string) int64 {
	end := t.services.Len()
	if to != "" {
		end = t.rank(to)
	}
	return int64(end - t.rank(from))
}

// rank returns how many services have a name before name.
func (t tree) rank(name string) int {
	if name == "" {
		return 0
	}
	low, high := 0, t.services.Len()
	for low < high {
		middle := (low + high) / 2
		if r, _ := t.services.GetAt(middle); r.name < name {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// Reported implements rules.Services.
func (t tree) Reported(name string) (servingStatus, bool) {
	if r := t.get(name); r != nil {
		return r.status, true
	}
	return serviceUnknown, false
}

// Scan implements rules.Services.
func (t tree) Scan(from, to string, visit func(string, servingStatus)) {
	t.services.Ascend(&record{name: from}, func(r *record) bool {
		if to != "" && r.name >= to {
			return false
		}
		visit(r.name, r.status)
		return true
	})
}

// matched is how many services a pattern covers.
func (s *state) matched(p string) int64 {
	if _, many := pattern.Prefix(p); !many {
		if s.get(p) != nil {
			return 1
		}
		return 0
	}
	return tree{s}.Total(pattern.Range(p))
}

// buildLayers returns the layers of the overrides in the tables; nil if there are none.
func (s *state) buildLayers() *layers.Layers {
	var all []*layers.Override
	s.tables.find(overrideKind).records.Scan(func(key string, v Value) bool {
		all = append(all, layers.NewOverride(key, v.(*logv1.Override)))
		return true
	})
	if len(all) == 0 {
		return nil
	}
	return layers.New(all)
}

// derive makes anew what follows from the records: the layers, and what the rules count.
func (s *state) derive() {
	s.layers = s.buildLayers()
	s.book, s.bookChanged = nil, true
	s.book = s.buildBook("", nil)
}

// commitLayering carries out what p does to layers and counts.
func (s *state) commitLayering(p *plan) {
	l := p.layered
	if l == nil {
		return
	}
	for _, key := range l.dropped {
		s.put(overrideKind, key, nil)
	}
	if len(l.patterns) > 0 {
		s.layers = l.layers
	}
	switch n := len(l.dropped); {
	case n > 32:
		s.layers = s.buildLayers()
	case n > 0:
		for _, key := range l.dropped {
			s.layers = s.layers.Without(key)
		}
	}
	switch {
	case l.newBook:
		s.book, s.bookChanged = l.book, true
	case !l.counts.Empty():
		s.book.Apply(&l.counts)
		s.bookChanged = true
	}
}
