package resolver

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// story is a registry that loses its disks while operators switch instances and the halves come and go.
type story struct {
	r        *registry
	c        *conn
	rng      *rand.Rand
	clusters int
	revision int64
	records  map[string]*rollcallv1.ServiceRecord // of the cluster of today, by address
	hears    map[string]bool                      // by half
	drained  map[string]bool                      // an operator did it, it was heard, and no operator has undone it since
	told     []string
}

func (s *story) cluster() string { return fmt.Sprintf("X%d", s.clusters) }

// heard is called when a half hears a record.
func (s *story) heard(address string) {
	if o := s.records[address].GetOverride(); o != nil {
		s.drained[address] = o.GetStatus() == client.NotServing
	}
}

func (s *story) put(address string, record *rollcallv1.ServiceRecord, undone bool) {
	s.revision++
	s.records[address] = record
	for _, half := range []string{"a", "b"} {
		if s.hears[half] {
			s.heard(address)
			if undone {
				s.drained[address] = false
			}
			s.r.sayOf(s.cluster(), half, s.revision, record)
		}
	}
}

func (s *story) reconnect(half string) {
	if s.hears[half] {
		s.hears[half] = false
		s.r.connect(half, false)
		return
	}
	s.hears[half] = true
	var all []*rollcallv1.ServiceRecord
	for address, record := range s.records {
		s.heard(address)
		all = append(all, record)
	}
	s.r.begin(s.cluster(), half, s.revision, all...)
}

func (s *story) step() {
	address := []string{a1, a2, a3}[s.rng.IntN(3)]
	record := s.records[address]
	switch what := s.rng.IntN(12); {
	case what < 2:
		s.told = append(s.told, "drain "+address)
		s.put(address, overridden(address, client.NotServing, nil), false)
	case what < 4 && record.GetOverride() != nil && (s.hears["a"] || s.hears["b"]):
		s.told = append(s.told, "clear "+address)
		s.put(address, is(address, client.Serving), true)
	case what < 5:
		s.told = append(s.told, "override SERVING "+address)
		s.put(address, overridden(address, client.Serving, nil), false)
	case what < 7 && record == nil:
		s.told = append(s.told, "report "+address)
		s.put(address, is(address, client.Serving), false)
	case what < 8:
		for half, is := range s.hears {
			if is {
				s.reconnect(half)
			}
		}
		s.clusters, s.revision, s.records = s.clusters+1, 1, map[string]*rollcallv1.ServiceRecord{}
		s.told = append(s.told, "wipe: "+s.cluster())
	default:
		half := []string{"a", "b"}[s.rng.IntN(2)]
		s.told = append(s.told, fmt.Sprintf("half %s hears: %v", half, !s.hears[half]))
		s.reconnect(half)
	}
}

func (s *story) list() string {
	synctest.Wait()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.state == nil {
		return ""
	}
	var all []string
	for _, e := range s.c.state.Endpoints {
		all = append(all, e.Addresses[0].Addr)
	}
	return strings.Join(all, " ")
}

// TestOperatorsWhileNodesAreWiped: what an operator drained gets no call before an operator says so, silence
// changes nothing, and at last the last word counts.
func TestOperatorsWhileNodesAreWiped(t *testing.T) {
	for seed := range uint64(200) {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *registry, c *conn) {
				s := &story{r: r, c: c, rng: rand.New(rand.NewPCG(seed, 1)), records: map[string]*rollcallv1.ServiceRecord{}, hears: map[string]bool{}, drained: map[string]bool{}}
				r.off(false)
				before := ""
				for range 60 {
					heard := s.hears["a"] || s.hears["b"]
					s.step()
					now := s.list()
					for address, is := range s.drained {
						if is && strings.Contains(now, address) {
							t.Fatalf("%s is drained and given: %s", address, strings.Join(s.told, "; "))
						}
					}
					if !heard && !s.hears["a"] && !s.hears["b"] && now != before {
						t.Fatalf("the list was %q, and is %q after silence: %s", before, now, strings.Join(s.told, "; "))
					}
					before = now
				}
				// At last both halves hear one registry, and operators have spoken of all.
				for _, half := range []string{"a", "b"} {
					if !s.hears[half] {
						s.reconnect(half)
					}
				}
				s.put(a1, overridden(a1, client.NotServing, nil), false)
				s.put(a2, overridden(a2, client.Serving, nil), false)
				s.put(a3, overridden(a3, client.NotServing, nil), false)
				if now := s.list(); now != a2 {
					t.Errorf("at last the list is %q: %s", now, strings.Join(s.told, "; "))
				}
			})
		})
		if !ok {
			return
		}
	}
}
