package aware

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Mapping says which name of the registry a call depends on. Its keys are methods, "/pkg.Service/Method", all methods
// of a service, "/pkg.Service/", and "", which is all others; the most exact key decides. Its values are names of the
// view. A call that no key covers is not looked at.
//
// Health checks, the methods of grpc.health.v1.Health, are never refused; "" does not cover them, and they cannot be
// mapped.
type Mapping map[string]string

// targets is a Mapping made fit for looking up.
type targets struct {
	methods  map[string]*target // by "/pkg.Service/Method"
	services map[string]*target // by "/pkg.Service/"
	others   *target            // nil: none
}

// healthMethods covers the methods of grpc.health.v1.Health.
var healthMethods = "/" + healthpb.Health_ServiceDesc.ServiceName + "/"

// compile checks a mapping against the names of a view.
func (m Mapping) compile(names []string) (*targets, error) {
	if len(m) == 0 {
		return nil, errors.New("aware: the mapping is empty: no call would be refused")
	}
	t := &targets{methods: map[string]*target{}, services: map[string]*target{}}
	byName := map[string]*target{}
	for key, name := range m {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("aware: the mapping of %q: %q is not a name of the view, which has %s", key, name, shorten(fmt.Sprintf("%q", names), maxNamesBytes))
		}
		to := byName[name]
		if to == nil {
			to = &target{name: name}
			byName[name] = to
		}
		if key == "" {
			t.others = to
			continue
		}
		_, method, err := splitMethod(key)
		switch {
		case err != nil:
			return nil, fmt.Errorf("aware: the mapping: %w", err)
		case strings.HasPrefix(key, healthMethods):
			return nil, fmt.Errorf("aware: the mapping: %q is a health check, and these are never refused", key)
		case method == "":
			t.services[key] = to
		default:
			t.methods[key] = to
		}
	}
	return t, nil
}

// maxNamesBytes bounds the list of names in an error.
const maxNamesBytes = 300

// of returns what a method depends on; nil: nothing.
func (t *targets) of(method string) *target {
	if len(t.methods) > 0 {
		if to := t.methods[method]; to != nil {
			return to
		}
	}
	if len(t.services) > 0 {
		if to := t.services[method[:strings.LastIndexByte(method, '/')+1]]; to != nil {
			return to
		}
	}
	if strings.HasPrefix(method, healthMethods) {
		return nil
	}
	return t.others
}
