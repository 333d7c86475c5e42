package top

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/btree"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Service is what is kept of a service.
type Service struct {
	Name   string
	Status healthpb.HealthCheckResponse_ServingStatus
	Since  time.Time // zero: not known
	Why    string    // of one that is not SERVING, for people
	Who    string
}

func (s *Service) serves() bool { return s.Status == healthpb.HealthCheckResponse_SERVING }

// Counts are of services.
type Counts struct{ Total, NotServing, Unknown int }

// Serving are the others.
func (c Counts) Serving() int { return c.Total - c.NotServing - c.Unknown }

func (c *Counts) add(s *Service, n int) {
	c.Total += n
	switch {
	case s.serves():
	case s.Status == healthpb.HealthCheckResponse_NOT_SERVING:
		c.NotServing += n
	default:
		c.Unknown += n
	}
}

// Group is a row of the picture: services whose names begin so, or one service.
type Group struct {
	Name string // "shop/": a group; "shop": the service of that name
	Counts
}

// IsService reports whether the row is of one service.
func (g *Group) IsService() bool { return !strings.HasSuffix(g.Name, "/") }

// Services are the services of a registry. Those below a base, whose names hold a filter, are counted by groups: a
// change costs a few steps in two trees, however many services there are. It is for one goroutine.
type Services struct {
	all    map[string]Service
	total  Counts // of all
	base   string // of names; ends with "/", or is ""
	depth  int    // so many parts of a name after the base make a group
	filter []string // words, in small letters

	shown  Counts
	groups map[string]*Group
	worst  *btree.BTreeG[*Group]  // worst first
	down   *btree.BTreeG[Service] // that are not SERVING, newest first
}

// NewServices returns none. depth is of the first groups.
func NewServices(base string, depth int) *Services {
	s := &Services{all: map[string]Service{}, depth: depth, base: base}
	s.count()
	return s
}

// Clear forgets all services.
func (s *Services) Clear() {
	s.all, s.total = map[string]Service{}, Counts{}
	s.count()
}

// Put adds or changes a service.
func (s *Services) Put(n Service) {
	s.Delete(n.Name)
	if n.serves() {
		n.Why, n.Who = "", ""
	}
	s.all[n.Name] = n
	s.total.add(&n, 1)
	s.move(&n, 1)
}

// Delete forgets a service, if there is one of this name.
func (s *Services) Delete(name string) {
	old, ok := s.all[name]
	if !ok {
		return
	}
	s.move(&old, -1)
	s.total.add(&old, -1)
	delete(s.all, name)
}

// Get returns a service.
func (s *Services) Get(name string) (Service, bool) {
	found, ok := s.all[name]
	return found, ok
}

// View chooses what is counted: what is below a base, and whose names hold all words of the filter, in any case.
func (s *Services) View(base string, depth int, filter string) {
	s.base, s.depth, s.filter = base, depth, strings.Fields(strings.ToLower(filter))
	s.count()
}

// Shown are the counts of what is shown.
func (s *Services) Shown() Counts { return s.shown }

// Groups gives the groups, worst first.
func (s *Services) Groups() iter.Seq[*Group] {
	return func(yield func(*Group) bool) { s.worst.Scan(yield) }
}

// Down gives the services that do not serve, newest first.
func (s *Services) Down() iter.Seq[Service] {
	return func(yield func(Service) bool) { s.down.Scan(yield) }
}

// count counts anew what is shown.
func (s *Services) count() {
	s.shown, s.groups = Counts{}, map[string]*Group{}
	s.worst = btree.NewBTreeGOptions(worse, btree.Options{NoLocks: true})
	s.down = btree.NewBTreeGOptions(newer, btree.Options{NoLocks: true})
	for _, one := range s.all {
		if !s.isShown(one.Name) {
			continue
		}
		s.shown.add(&one, 1)
		s.groupOf(one.Name).add(&one, 1)
		if !one.serves() {
			s.down.Set(one)
		}
	}
	for _, g := range s.groups {
		s.worst.Set(g)
	}
}

// move adds a service to what is shown, or takes it out: n is 1 or -1.
func (s *Services) move(one *Service, n int) {
	if !s.isShown(one.Name) {
		return
	}
	s.shown.add(one, n)
	if !one.serves() && n > 0 {
		s.down.Set(*one)
	} else if !one.serves() {
		s.down.Delete(*one)
	}
	g := s.groupOf(one.Name)
	s.worst.Delete(g)
	if g.add(one, n); g.Total > 0 {
		s.worst.Set(g)
	} else {
		delete(s.groups, g.Name)
	}
}

func (s *Services) isShown(name string) bool {
	if !strings.HasPrefix(name, s.base) {
		return false
	}
	if len(s.filter) == 0 {
		return true
	}
	name = strings.ToLower(name)
	return !slices.ContainsFunc(s.filter, func(word string) bool { return !strings.Contains(name, word) })
}

func (s *Services) groupOf(name string) *Group {
	key := groupName(name, s.base, s.depth)
	g := s.groups[key]
	if g == nil {
		g = &Group{Name: key}
		s.groups[key] = g
	}
	return g
}

// groupName returns the group of a name below a base: with depth more parts and a "/" at its end. A name that has not so
// many parts is a group of its own.
func groupName(name, base string, depth int) string {
	end := len(base)
	for range depth {
		slash := strings.IndexByte(name[end:], '/')
		if slash < 0 {
			return name
		}
		end += slash + 1
	}
	return name[:end]
}

// worse orders groups: those with most services down first.
func worse(a, b *Group) bool {
	return cmp.Or(-cmp.Compare(a.NotServing, b.NotServing), -cmp.Compare(a.Unknown, b.Unknown), cmp.Compare(a.Name, b.Name)) < 0
}

// newer orders services: the last that changed first.
func newer(a, b Service) bool {
	return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Name, b.Name)) < 0
}
