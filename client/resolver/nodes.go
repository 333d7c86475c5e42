package resolver

import (
	"google.golang.org/grpc/resolver"
)

// NewNodes returns the resolver of rollcall-nodes:///HOST:PORT,HOST:PORT, which gives the registry's own nodes that
// the target lists; a member that is added to the cluster later is none of them until the target lists it. It is a Builder of google.golang.org/grpc/resolver. The name of a host is looked up at each dial.
// With TLS each node is checked against the host that the target says.
//
// It needs a service config that checks the health of "rollcall.reads" (the node can answer reads) and has the nodes
// take turns. The package's comment has both in one line.
func NewNodes() resolver.Builder { return nodesBuilder{} }

type nodesBuilder struct{}

// Scheme is that of the targets.
func (nodesBuilder) Scheme() string { return nodesScheme }

// CheckTarget says what is wrong with a target; package aware asks it.
func (nodesBuilder) CheckTarget(t resolver.Target) error {
	_, err := nodesOf(t)
	return err
}

// OverrideAuthority names the first node: the list is no authority.
func (nodesBuilder) OverrideAuthority(t resolver.Target) string {
	nodes, err := nodesOf(t)
	if err != nil {
		return "invalid" // Build says why
	}
	return nodes[0]
}

// Build gives the nodes once: they do not change.
func (nodesBuilder) Build(t resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	nodes, err := nodesOf(t)
	if err != nil {
		return nil, err
	}
	_ = cc.UpdateState(stateOf(nodes, true)) // an error would ask for another list, and there is none
	return fixed{}, nil
}

type fixed struct{}

func (fixed) ResolveNow(resolver.ResolveNowOptions) {}
func (fixed) Close()                                {}

// stateOf is a list as gRPC takes it. It has no service config: that of a resolver would replace the channel's own
// as a whole, with its health check. Both forms of the list are filled, because policies that stand on package
// balancer/base read Addresses only.
func stateOf(addresses []string, named bool) resolver.State {
	s := resolver.State{
		Addresses: make([]resolver.Address, 0, len(addresses)),
		Endpoints: make([]resolver.Endpoint, 0, len(addresses)),
	}
	for _, address := range addresses {
		a := resolver.Address{Addr: address}
		if named {
			a.ServerName = address // gRPC takes the port off for TLS
		}
		s.Addresses = append(s.Addresses, a)
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
	}
	return s
}
