package cliflag

import (
	"fmt"
	"slices"
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/client"
)

// Reportable are the statuses that a report can have, as they are written on the command line.
var Reportable = []string{"serving", "not_serving", "unknown"}

// statusForms says how a status may be written.
const statusForms = "serving (or up), not_serving (or down) or unknown"

// ParseStatus reads a reportable status in any case, with "-" or "_". "up" is SERVING, "down" NOT_SERVING.
func ParseStatus(s string) (client.Status, error) {
	if status, ok := apijson.Status(s); ok && status != healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return status, nil
	}
	return 0, fmt.Errorf("%q is no status; use %s", s, statusForms)
}

func canonical(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// Awaitable returns the statuses that can be waited for.
func Awaitable() []string { return append(slices.Clone(Reportable), "service_unknown") }

// AwaitedStatus is the value of wait --for: a status, or service_unknown for "does not exist".
type AwaitedStatus client.Status

func (s *AwaitedStatus) String() string { return strings.ToLower(client.Status(*s).String()) }
func (s *AwaitedStatus) Type() string   { return "status" }

func (s *AwaitedStatus) Set(v string) error {
	parsed, ok := apijson.Status(v)
	if !ok {
		return fmt.Errorf("%q is no status; use serving (or up), not_serving (or down), unknown or service_unknown", v)
	}
	*s = AwaitedStatus(parsed)
	return nil
}

// Statuses is the value of list --status: a list of statuses.
type Statuses []client.Status

func (l *Statuses) String() string {
	names := make([]string, len(*l))
	for i, s := range *l {
		names[i] = strings.ToLower(s.String())
	}
	return strings.Join(names, ",")
}

func (l *Statuses) Type() string { return "status" }

func (l *Statuses) Set(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		s, err := ParseStatus(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		*l = append(*l, s)
	}
	return nil
}
