package top

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
)

// minute returns a time so many minutes after the first.
func minute(n int) time.Time { return time.Date(2026, 11, 29, 3, n, 0, 0, time.UTC) }

func filled(services ...Service) *Services {
	s := NewServices("", 1)
	for _, one := range services {
		s.Put(one)
	}
	return s
}

// groupsOf returns the groups as texts: "shop/ 3 1 0".
func groupsOf(s *Services) []string {
	var all []string
	for g := range s.Groups() {
		all = append(all, fmt.Sprintf("%s %d %d %d", g.Name, g.Total, g.NotServing, g.Unknown))
	}
	return all
}

func downOf(s *Services) []string {
	var all []string
	for one := range s.Down() {
		all = append(all, one.Name)
	}
	return all
}

func TestGroupsOfNames(t *testing.T) {
	for _, c := range []struct {
		name, base string
		depth      int
		want       string
	}{
		{"shop/cart", "", 1, "shop/"},
		{"solo", "", 1, "solo"},
		{"shop", "", 1, "shop"},
		{"shop/cart/a", "", 2, "shop/cart/"},
		{"shop/cart", "", 2, "shop/cart"},
		{"shop/cart/a", "shop/", 1, "shop/cart/"},
		{"shop/cart", "shop/", 1, "shop/cart"},
		{"/a", "", 1, "/"},
		{"//a", "/", 1, "//"},
		{"", "", 1, ""},
		{"shop/", "", 1, "shop/"},
		{"shop/", "shop/", 1, "shop/"},
	} {
		if got := groupName(c.name, c.base, c.depth); got != c.want {
			t.Errorf("%q below %q, %d parts: %q, want %q", c.name, c.base, c.depth, got, c.want)
		}
	}
}

func TestTheWorstGroupIsFirstAndTheNewestServiceThatIsDown(t *testing.T) {
	s := filled(
		Service{Name: "good/a", Status: serving}, Service{Name: "pay/a", Status: notServing, Since: minute(2), Why: "disk"},
		Service{Name: "pay/b", Status: serving, Why: "not kept"}, Service{Name: "shop/a", Status: notServing, Since: minute(1)},
		Service{Name: "shop/b", Status: notServing, Since: minute(3)}, Service{Name: "odd", Status: unknown},
	)
	if got, want := groupsOf(s), []string{"shop/ 2 2 0", "pay/ 2 1 0", "odd 1 0 1", "good/ 1 0 0"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
	if got, want := downOf(s), []string{"shop/b", "pay/a", "shop/a", "odd"}; !slices.Equal(got, want) {
		t.Errorf("down %q, want %q", got, want)
	}
	if one, _ := s.Get("pay/b"); one.Why != "" {
		t.Errorf("a service that serves keeps why it did not: %+v", one)
	}
	s.Put(Service{Name: "shop/b", Status: serving})
	s.Delete("shop/a")
	s.Delete("odd")
	s.Delete("never was")
	if got, want := groupsOf(s), []string{"pay/ 2 1 0", "good/ 1 0 0", "shop/ 1 0 0"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
	s.View("", 1, "PAY")
	if got := s.Shown(); got != (Counts{Total: 2, NotServing: 1}) {
		t.Errorf("filtered: %+v", got)
	}
	s.Put(Service{Name: "other/b", Status: notServing})
	if got, want := groupsOf(s), []string{"pay/ 2 1 0"}; !slices.Equal(got, want) {
		t.Errorf("a change outside of the filter shows: %q", got)
	}
	s.Clear()
	if got := groupsOf(s); len(got)+len(downOf(s)) != 0 || s.Shown() != (Counts{}) {
		t.Errorf("after all is forgotten: %q", got)
	}
}

// What changes leave is what counting anew gives.
func TestChangesCountAsCountingAnewDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, view := range []struct {
		base   string
		depth  int
		filter string
	}{{"", 1, ""}, {"", 2, ""}, {"a/", 1, ""}, {"", 1, "b/c"}, {"a/b/", 1, "1"}} {
		s := NewServices("", 1)
		s.View(view.base, view.depth, view.filter)
		for range 3000 {
			var parts []string
			for range 1 + r.IntN(4) {
				parts = append(parts, string("abc1"[r.IntN(4)]))
			}
			name := strings.Join(parts, "/")
			if r.IntN(4) == 0 {
				s.Delete(name)
			} else {
				s.Put(Service{Name: name, Status: []healthpb.HealthCheckResponse_ServingStatus{serving, notServing, unknown}[r.IntN(3)], Since: minute(r.IntN(50))})
			}
		}
		groups, down, shown := groupsOf(s), downOf(s), s.Shown()
		s.View(view.base, view.depth, view.filter)
		if anew := groupsOf(s); !slices.Equal(groups, anew) || !slices.Equal(down, downOf(s)) || shown != s.Shown() || len(groups) == 0 {
			t.Errorf("%+v: %q %+v, counted anew %q %+v", view, groups, shown, anew, s.Shown())
		}
	}
}

// BenchmarkPut changes one of 100,000 services, in 200 groups.
func BenchmarkPut(b *testing.B) {
	s := NewServices("", 1)
	name := func(i int) string { return fmt.Sprintf("group-%03d/service-%05d", i%200, i) }
	const services = 100_000
	for i := range services {
		s.Put(Service{Name: name(i), Status: serving})
	}
	names := make([]string, services)
	for i := range names {
		names[i] = name(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		status := serving
		if i/5000%2 == 0 {
			status = notServing
		}
		s.Put(Service{Name: names[i%5000], Status: status, Since: minute(i)})
	}
}
