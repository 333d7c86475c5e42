package aware

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Options say what the service config of ServiceConfig holds; Dial has a function for each field. The zero value
// checks the health of "", the whole server, takes turns (round_robin) and retries all methods.
type Options struct {
	// Service is the name whose health is watched on each connection; "" is the whole server. A name that no server
	// knows makes all calls fail: the servers answer SERVICE_UNKNOWN.
	Service string
	// Policy is gRPC's name of a load balancing policy that heeds health; "" is round_robin. pick_first, gRPC's
	// default, does not and is refused. A policy must be registered: gRPC's less usual ones are by importing their
	// packages.
	Policy string
	// PolicyConfig is the policy's own config, a JSON object; nil is {}.
	PolicyConfig json.RawMessage
	// Unsafe are methods that must not be done twice, "/pkg.Service/Method", or all of a service, "/pkg.Service/".
	// They are not retried: a connection that breaks can leave a call that was done.
	Unsafe []string
}

// The retry policy. A killed instance takes the calls that are under way with it: three more tries, with 0.1, 0.2
// and 0.4 s at most between them, find another. The throttle is wide, because one killed instance fails many calls
// at once; it still stops retries while more than half of many calls fail.
const (
	maxAttempts    = 4
	initialBackoff = "0.1s"
	maxBackoff     = "1s"
	multiplier     = 2
	maxTokens      = 1000
	tokenRatio     = 1
)

type (
	serviceConfig struct {
		LoadBalancingConfig []map[string]json.RawMessage `json:"loadBalancingConfig"`
		HealthCheckConfig   healthCheckConfig            `json:"healthCheckConfig"`
		MethodConfig        []methodConfig               `json:"methodConfig"`
		RetryThrottling     retryThrottling              `json:"retryThrottling"`
	}
	healthCheckConfig struct {
		ServiceName string `json:"serviceName"`
	}
	methodConfig struct {
		Name        []methodName `json:"name"`
		RetryPolicy *retryPolicy `json:"retryPolicy,omitempty"`
	}
	methodName struct {
		Service string `json:"service,omitempty"`
		Method  string `json:"method,omitempty"`
	}
	retryPolicy struct {
		MaxAttempts          int      `json:"maxAttempts"`
		InitialBackoff       string   `json:"initialBackoff"`
		MaxBackoff           string   `json:"maxBackoff"`
		BackoffMultiplier    float64  `json:"backoffMultiplier"`
		RetryableStatusCodes []string `json:"retryableStatusCodes"`
	}
	retryThrottling struct {
		MaxTokens  float64 `json:"maxTokens"`
		TokenRatio float64 `json:"tokenRatio"`
	}
)

// ServiceConfig returns the service config that Dial uses, as JSON. It is for grpc.WithDefaultServiceConfig, and
// for clients in other languages. In Go the program must also import google.golang.org/grpc/health, as this package
// does: without it gRPC checks no health, and only logs that (grpc-go #8590).
func ServiceConfig(o Options) (string, error) {
	if !utf8.ValidString(o.Service) {
		return "", fmt.Errorf("aware: the service %q is not valid UTF-8", o.Service)
	}
	policy, err := o.policy()
	if err != nil {
		return "", err
	}
	c := serviceConfig{
		LoadBalancingConfig: []map[string]json.RawMessage{policy},
		HealthCheckConfig:   healthCheckConfig{ServiceName: o.Service},
		MethodConfig: []methodConfig{{
			Name: []methodName{{}}, // all methods that stand in no other entry
			RetryPolicy: &retryPolicy{
				MaxAttempts:          maxAttempts,
				InitialBackoff:       initialBackoff,
				MaxBackoff:           maxBackoff,
				BackoffMultiplier:    multiplier,
				RetryableStatusCodes: []string{"UNAVAILABLE"},
			},
		}},
		RetryThrottling: retryThrottling{MaxTokens: maxTokens, TokenRatio: tokenRatio},
	}
	unsafe, err := methodNames(o.Unsafe)
	if err != nil {
		return "", err
	}
	if len(unsafe) > 0 {
		c.MethodConfig = append(c.MethodConfig, methodConfig{Name: unsafe})
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("aware: %w", err)
	}
	return string(text), nil
}

// policy is the entry of loadBalancingConfig.
func (o Options) policy() (map[string]json.RawMessage, error) {
	name := o.Policy
	if name == "" {
		name = "round_robin"
	}
	// gRPC looks policies up in lower case.
	if strings.ToLower(name) == "pick_first" {
		return nil, errors.New("aware: the policy pick_first ignores health: calls would go to instances that are switched off; use round_robin")
	}
	config := o.PolicyConfig
	if config == nil {
		config = json.RawMessage("{}")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(config, &object); err != nil || object == nil {
		return nil, fmt.Errorf("aware: the config of the policy %s is not a JSON object", name)
	}
	return map[string]json.RawMessage{name: config}, nil
}

// methodNames turns methods into the names of a service config.
func methodNames(methods []string) ([]methodName, error) {
	var names []methodName
	seen := map[string]bool{}
	for _, m := range methods {
		service, method, err := splitMethod(m)
		if err != nil {
			return nil, fmt.Errorf("aware: unsafe: %w", err)
		}
		if seen[m] {
			continue // gRPC refuses a name that is there twice
		}
		seen[m] = true
		names = append(names, methodName{Service: service, Method: method})
	}
	return names, nil
}

// splitMethod takes "/pkg.Service/Method" or "/pkg.Service/" apart.
func splitMethod(m string) (service, method string, err error) {
	rest, ok := strings.CutPrefix(m, "/")
	service, method, two := strings.Cut(rest, "/")
	switch {
	case !ok, !two, service == "", strings.Contains(method, "/"), strings.ContainsFunc(m, notInMethods):
		return "", "", fmt.Errorf(`%q is neither a method, as "/pkg.Service/Method", nor all methods of a service, as "/pkg.Service/"`, m)
	}
	return service, method, nil
}

// notInMethods tells characters that no name of a method has.
func notInMethods(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '/', r == '.', r == '_', r == '-':
		return false
	}
	return true
}
