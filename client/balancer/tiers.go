package balancer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// DefaultName is the usual name of the policy in service configs.
const DefaultName = "rollcall_tiers"

// defaultReadyPercent is Config's readyPercent unless the service config says it.
const defaultReadyPercent = 50

// Tier says how near an endpoint of google.golang.org/grpc/resolver is: 0, 1, 2 and so on, the lowest number is the
// nearest. The numbers may have gaps, and may be negative. It is called for each endpoint of each list that the
// resolver gives; an endpoint has at least one address. It must not block, and must be safe for use by many channels
// at once.
type Tier func(resolver.Endpoint) int

// New returns a policy of that name, for balancer.Register of google.golang.org/grpc/balancer. Programs that need
// several ways to tell tiers register several policies. The name is lower case letters, digits and '_'.
func New(name string, tier Tier) (balancer.Builder, error) {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return nil, fmt.Errorf("balancer: the name %q of a policy is not lower case letters, digits and '_'", name)
	}
	if tier == nil {
		return nil, errors.New("balancer: no function is given that says the tier of an endpoint")
	}
	return builder{name: name, tier: tier}, nil
}

type builder struct {
	name string
	tier Tier
}

func (b builder) Name() string { return b.name }

func (b builder) Build(cc balancer.ClientConn, o balancer.BuildOptions) balancer.Balancer {
	return newPolicy(b.tier, cc, o)
}

// config is what stands beside the policy's name in a service config.
type config struct {
	serviceconfig.LoadBalancingConfig `json:"-"`

	// ReadyPercent is how much of a tier must be READY so that it takes calls although a farther tier could; 1 to 100.
	ReadyPercent int `json:"readyPercent"`
}

// ParseConfig is called by gRPC. A config that is wrong fails grpc.NewClient, or the list of the resolver that
// came with it.
func (b builder) ParseConfig(text json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	c := &config{ReadyPercent: defaultReadyPercent}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a misspelled key would otherwise leave the default in force
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf(`%s: its config is not of the form {"readyPercent": 50}: %w`, b.name, err)
	}
	if c.ReadyPercent < 1 || c.ReadyPercent > 100 {
		return nil, fmt.Errorf("%s: readyPercent is %d, and must be from 1 to 100", b.name, c.ReadyPercent)
	}
	return c, nil
}
