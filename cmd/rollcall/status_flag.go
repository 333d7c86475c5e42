package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// settable are the statuses a report can have, as they are written on the command line.
var settable = []string{"serving", "not_serving", "unknown"}

// parseStatus reads a status without regard to case, with "-" or "_".
func parseStatus(s string) (client.Status, error) {
	switch normal(s) {
	case "SERVING":
		return healthpb.HealthCheckResponse_SERVING, nil
	case "NOT_SERVING":
		return healthpb.HealthCheckResponse_NOT_SERVING, nil
	case "UNKNOWN":
		return healthpb.HealthCheckResponse_UNKNOWN, nil
	}
	return 0, fmt.Errorf("%q is no status; use %s", s, alternatives(settable))
}

func normal(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// alternatives writes a list as "a, b or c".
func alternatives(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// awaitedStatus is the value of wait --for: a status, or service_unknown for "does not exist".
type awaitedStatus client.Status

func (s *awaitedStatus) String() string { return strings.ToLower(client.Status(*s).String()) }
func (s *awaitedStatus) Type() string   { return "status" }

func (s *awaitedStatus) Set(v string) error {
	if normal(v) == "SERVICE_UNKNOWN" {
		*s = awaitedStatus(healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
		return nil
	}
	parsed, err := parseStatus(v)
	if err != nil {
		return fmt.Errorf("%q is no status; use %s", v, alternatives(append(settable[:len(settable):len(settable)], "service_unknown")))
	}
	*s = awaitedStatus(parsed)
	return nil
}

// statusList is the value of list --status.
type statusList []client.Status

func (l *statusList) String() string {
	names := make([]string, len(*l))
	for i, s := range *l {
		names[i] = strings.ToLower(s.String())
	}
	return strings.Join(names, ",")
}

func (l *statusList) Type() string { return "status" }

func (l *statusList) Set(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		s, err := parseStatus(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		*l = append(*l, s)
	}
	return nil
}

// exactly, between and noArguments say in words what is missing or too much.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), names...) }

// between wants the first least of names, and takes at most all.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s is missing", strings.Join(names[len(args):least], " and "))
		case len(args) > len(names):
			return fmt.Errorf("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

func noArguments(_ *cobra.Command, args []string) error { return between(0)(nil, args) }
