package balancer

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// policy chooses a tier. Its child has a pick_first for each endpoint, which connects and checks health.
type policy struct {
	balancer.ClientConn // for UpdateState, which the child calls
	child               balancer.Balancer
	tier                Tier

	mu           sync.Mutex // guards what follows; the child's own lock is taken before it, never after it
	readyPercent int
	tiers        *resolver.EndpointMap[int] // of the newest list
}

func newPolicy(tier Tier, cc balancer.ClientConn, o balancer.BuildOptions) balancer.Balancer {
	p := &policy{ClientConn: cc, tier: tier, readyPercent: defaultReadyPercent, tiers: resolver.NewEndpointMap[int]()}
	p.child = endpointsharding.NewBalancer(p, o, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	return p
}

// UpdateClientConnState takes a list of endpoints and a config.
func (p *policy) UpdateClientConnState(s balancer.ClientConnState) error {
	c, ok := s.BalancerConfig.(*config)
	if !ok {
		return fmt.Errorf("balancer: the config is of another policy: %T: %w", s.BalancerConfig, balancer.ErrBadResolverState)
	}
	tiers := resolver.NewEndpointMap[int]()
	var endpoints []resolver.Endpoint
	for _, e := range s.ResolverState.Endpoints {
		if len(e.Addresses) == 0 {
			continue
		}
		tier := p.tier(e)
		if nearer, twice := tiers.Get(e); !twice {
			endpoints = append(endpoints, e)
		} else if nearer <= tier {
			continue
		}
		tiers.Set(e, tier)
	}
	s.ResolverState.Endpoints = endpoints

	p.mu.Lock()
	p.readyPercent, p.tiers = c.ReadyPercent, tiers
	p.mu.Unlock()
	return p.child.UpdateClientConnState(balancer.ClientConnState{
		// Without it the children would be READY when they are connected, whatever the endpoint says of its health.
		ResolverState: pickfirst.EnableHealthListener(s.ResolverState),
	})
}

// UpdateState takes what the child says of all endpoints, and has calls go to one tier.
func (p *policy) UpdateState(s balancer.State) {
	// The lock is held until gRPC has the picker, so that an older one never replaces a newer one.
	p.mu.Lock()
	defer p.mu.Unlock()
	if pickers := p.choose(endpointsharding.ChildStatesFromPicker(s.Picker)); len(pickers) > 0 {
		s = balancer.State{ConnectivityState: connectivity.Ready, Picker: newRoundRobin(pickers)}
	}
	p.ClientConn.UpdateState(s)
}

// share is how much of a tier is READY.
type share struct {
	tier    int
	total   int
	pickers []balancer.Picker // of those that are READY
}

// choose returns the pickers of the READY endpoints of the tier that takes the calls; none if no endpoint of any
// tier is READY. The lock must be held.
func (p *policy) choose(children []endpointsharding.ChildState) []balancer.Picker {
	shares := map[int]*share{}
	for _, child := range children {
		tier, ok := p.tiers.Get(child.Endpoint)
		if !ok {
			continue // of a list before
		}
		t := shares[tier]
		if t == nil {
			t = &share{tier: tier}
			shares[tier] = t
		}
		t.total++
		if child.State.ConnectivityState == connectivity.Ready {
			t.pickers = append(t.pickers, child.State.Picker)
		}
	}
	nearest := make([]*share, 0, len(shares))
	for _, t := range shares {
		nearest = append(nearest, t)
	}
	slices.SortFunc(nearest, func(a, b *share) int { return cmp.Compare(a.tier, b.tier) })

	var best *share
	for _, t := range nearest {
		if len(t.pickers)*100 >= p.readyPercent*t.total {
			return t.pickers // never empty: readyPercent is at least 1
		}
		if best == nil || len(t.pickers)*best.total > len(best.pickers)*t.total {
			best = t
		}
	}
	if best == nil {
		return nil
	}
	return best.pickers
}

// ResolverError is that the resolver has no list.
func (p *policy) ResolverError(err error) { p.child.ResolverError(err) }

// UpdateSubConnState is never called: the children have listeners of their own.
func (p *policy) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle connects.
func (p *policy) ExitIdle() { p.child.ExitIdle() }

// Close ends all connections.
func (p *policy) Close() { p.child.Close() }

// roundRobin has its pickers take turns.
type roundRobin struct {
	pickers []balancer.Picker
	next    atomic.Uint32
}

func newRoundRobin(pickers []balancer.Picker) *roundRobin {
	r := &roundRobin{pickers: pickers}
	r.next.Store(rand.Uint32()) // else every change would begin at the same endpoint
	return r
}

// Pick is called for each call.
func (r *roundRobin) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	return r.pickers[r.next.Add(1)%uint32(len(r.pickers))].Pick(info)
}
