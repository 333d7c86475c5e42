package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

type chosenEndpointsKey struct{}

// WithEndpoints has calls and watches that get ctx use only these of the client's endpoints, in this order. They
// are named as [Config].Endpoints names them. A call fails with INVALID_ARGUMENT if none is given, if one is given
// twice, or if the client does not have one. A watch belongs to the cluster of these endpoints alone. Leases take no
// notice.
func WithEndpoints(ctx context.Context, endpoints ...string) context.Context {
	return context.WithValue(ctx, chosenEndpointsKey{}, slices.Clone(endpoints))
}

// Endpoints returns the addresses of the client's endpoints, in the order in which this client tries them.
func (c *Client) Endpoints() []string {
	addresses := make([]string, len(c.endpoints))
	for i, e := range c.endpoints {
		addresses[i] = e.address
	}
	return addresses
}

// order returns the endpoints of a call in the order in which to try them. The caller must not change it. chosen
// means that the call's context names them: then how they do says nothing about where other calls should start. The
// error says what is wrong with those that the context names.
func (c *Client) order(ctx context.Context) (endpoints []*endpoint, chosen bool, _ error) {
	addresses, chosen := ctx.Value(chosenEndpointsKey{}).([]string)
	if !chosen {
		return c.rotated(), false, nil
	}
	if len(addresses) == 0 {
		return nil, true, errors.New("the call's context names no endpoint")
	}
	for i, address := range addresses {
		at := slices.IndexFunc(c.endpoints, func(e *endpoint) bool { return e.address == address })
		switch {
		case at < 0:
			return nil, true, fmt.Errorf("the client has no endpoint %q, which the call's context names", address)
		case slices.Contains(addresses[:i], address):
			return nil, true, fmt.Errorf("the call's context names the endpoint %q twice", address)
		}
		endpoints = append(endpoints, c.endpoints[at])
	}
	return endpoints, true, nil
}

// rotated returns all endpoints, the preferred one first.
func (c *Client) rotated() []*endpoint {
	first := int(c.preferred.Load())
	return c.ring[first : first+len(c.endpoints)]
}

// prefer makes calls start at e.
func (c *Client) prefer(e *endpoint) {
	if c.preferred.Load() != int32(e.index) {
		c.preferred.Store(int32(e.index))
	}
}

// avoid makes calls start after e, if they would start with it.
func (c *Client) avoid(e *endpoint) {
	c.preferred.CompareAndSwap(int32(e.index), int32((e.index+1)%len(c.endpoints)))
}
