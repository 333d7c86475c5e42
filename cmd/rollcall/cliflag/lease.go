package cliflag

import (
	"fmt"
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Endings are what reports can turn to when their lease ends, as they are written on the command line.
var Endings = []string{"not_serving", "unknown", "serving", "delete"}

// Ending is the value of a flag that says what reports turn to when their lease ends: a status, or delete.
type Ending struct {
	Status *client.Status // nil: the flag is not given; SERVICE_UNKNOWN: they are deleted
	def    string         // what holds then
}

// NewEnding returns an ending that is not given. def says what holds then, for the help.
func NewEnding(def string) Ending { return Ending{def: def} }

func (e *Ending) String() string {
	switch {
	case e.Status == nil:
		return e.def
	case *e.Status == healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
		return "delete"
	}
	return strings.ToLower(e.Status.String())
}

func (e *Ending) Type() string { return "status" }

func (e *Ending) Set(v string) error {
	if canonical(v) == "DELETE" {
		e.Status = healthpb.HealthCheckResponse_SERVICE_UNKNOWN.Enum()
		return nil
	}
	s, err := ParseStatus(v)
	if err != nil {
		return fmt.Errorf("%q is no status; use %s", v, format.Alternatives(Endings))
	}
	e.Status = &s
	return nil
}

// stops are what a reporter that ends well does to its reports.
var stops = map[string]client.OnStop{"not_serving": client.StopNotServing, "withdraw": client.StopWithdraw, "leave": client.StopLeave}

// Stops are the names of what a reporter that ends well can do.
var Stops = []string{"not_serving", "withdraw", "leave"}

// OnStop is the value of set --on-stop.
type OnStop client.OnStop

func (o *OnStop) String() string {
	for name, stop := range stops {
		if stop == client.OnStop(*o) {
			return name
		}
	}
	return ""
}

func (o *OnStop) Type() string { return "end" }

func (o *OnStop) Set(v string) error {
	name := strings.ToLower(canonical(v))
	if name == "down" {
		name = "not_serving"
	}
	stop, ok := stops[name]
	if !ok {
		return fmt.Errorf("%q is no end; use %s", v, format.Alternatives(Stops))
	}
	*o = OnStop(stop)
	return nil
}
