package metrics

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/aware"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/healthserver"
	"github.com/rollcallhq/rollcall/client/resolver"
	"github.com/rollcallhq/rollcall/client/view"
)

var (
	_ prometheus.Collector  = (*Metrics)(nil)
	_ checks.Observer       = (*Metrics)(nil)
	_ healthserver.Observer = (*Metrics)(nil)
	_ aware.Observer        = (*Metrics)(nil)
	_ resolver.Observer     = (*Metrics)(nil)
)

// fakeView says what it holds.
type fakeView struct {
	opinions map[string]view.Opinion
	silent   time.Duration
}

func (v *fakeView) Names() []string {
	var names []string
	for name := range v.opinions {
		names = append(names, name)
	}
	return names
}
func (v *fakeView) Get(name string) view.Opinion { return v.opinions[name] }
func (v *fakeView) Silent() time.Duration        { return v.silent }

func registered(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	m, registry := New(), prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	return m, registry
}

// shows compares the samples of some metrics, without help and type.
func shows(t *testing.T, registry *prometheus.Registry, names string, want string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		if !strings.Contains(" "+names+" ", " "+f.GetName()+" ") {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := s.GetGauge().GetValue() + s.GetCounter().GetValue()
			if h := s.GetHistogram(); h != nil {
				value = float64(h.GetSampleCount())
			}
			fmt.Fprintf(&got, "%s{%s} %g\n", f.GetName(), strings.Join(labels, ","), value)
		}
	}
	if want = strings.TrimLeft(want, "\n"); got.String() != want {
		t.Errorf("samples:\n%swant:\n%s", got.String(), want)
	}
}

// everything has a sample of each metric.
func everything(m *Metrics) {
	m.CheckDone(checks.Result{Service: "checkout", Check: "database", Status: client.Serving, Took: 3 * time.Millisecond})
	m.StatusChanged("checkout", client.Serving, nil)
	m.Published(nil)
	m.LeaseLost()
	m.Refused("payments")
	m.Endpoints("shop/checkout", 3, 1, 0)
	m.views = append(m.views, &fakeView{opinions: map[string]view.Opinion{"payments": {Off: true}}})
}

func TestNames(t *testing.T) {
	m, registry := registered(t)
	everything(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	var got []string
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got = append(got, f.GetName()+"{"+strings.Join(labels, ",")+"}")
	}
	want := []string{
		"grpc_health_check_duration_seconds{service,status}", "grpc_health_check_status{service}", "rollcall_lease_lost_total{}",
		"rollcall_publish_total{result}", "rollcall_refused_calls_total{service}", "rollcall_resolver_endpoints{service,state}",
		"rollcall_view_age_seconds{}", "rollcall_view_held{}", "rollcall_view_off{service}",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("metrics:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChecks(t *testing.T) {
	m, registry := registered(t)
	const names = "grpc_health_check_status grpc_health_check_duration_seconds"
	done := func(service, check string, damped client.Status, failed string, degraded bool) {
		m.CheckDone(checks.Result{Service: service, Check: check, Status: damped, Error: failed, Degraded: degraded, Took: time.Second})
	}
	// A raw failure that thresholds do not let through yet, a warning, and a check that has not decided.
	done("checkout", "database", client.Serving, "connection refused", false)
	done("checkout", "disk", client.Serving, "91 % full", true)
	done("checkout", "partner", client.Unknown, "no route", false)
	m.StatusChanged("checkout", client.Unknown, []string{"partner"})
	m.StatusChanged("", client.Serving, nil)
	shows(t, registry, names, `
grpc_health_check_duration_seconds{service="database",status="NOT_SERVING"} 1
grpc_health_check_duration_seconds{service="disk",status="SERVING"} 1
grpc_health_check_duration_seconds{service="partner",status="NOT_SERVING"} 1
grpc_health_check_status{service=""} 1
grpc_health_check_status{service="checkout"} 0
grpc_health_check_status{service="database"} 1
grpc_health_check_status{service="disk"} 1
grpc_health_check_status{service="partner"} 0
`)
	// Of the same name in two services the worse one shows, whichever comes last, and a service's is among them.
	done("stock", "database", client.NotServing, "connection refused", false)
	done("checkout", "database", client.Serving, "", false)
	m.StatusChanged("disk", client.NotServing, nil)
	m.StatusChanged("checkout", client.Serving, nil)
	shows(t, registry, "grpc_health_check_status", `
grpc_health_check_status{service=""} 1
grpc_health_check_status{service="checkout"} 1
grpc_health_check_status{service="database"} 0
grpc_health_check_status{service="disk"} 0
grpc_health_check_status{service="partner"} 0
`)
	// What is removed vanishes.
	m.CheckRemoved("stock", "database")
	m.StatusChanged("stock", client.ServiceUnknown, nil)
	m.StatusChanged("disk", client.ServiceUnknown, nil)
	m.StatusChanged("", client.ServiceUnknown, nil)
	shows(t, registry, "grpc_health_check_status", `
grpc_health_check_status{service="checkout"} 1
grpc_health_check_status{service="database"} 1
grpc_health_check_status{service="disk"} 1
grpc_health_check_status{service="partner"} 0
`)
}

func TestPublishing(t *testing.T) {
	m, registry := registered(t)
	m.LeaseLost()
	for _, err := range []error{
		nil, nil,
		&client.Error{Code: codes.Unavailable},
		errors.New("something else"),
		fmt.Errorf("publishing: %w", &client.Error{Code: codes.PermissionDenied}),
		&client.Error{Code: codes.FailedPrecondition},
		&client.Error{Code: codes.InvalidArgument},
	} {
		m.Published(err)
	}
	shows(t, registry, "rollcall_publish_total rollcall_lease_lost_total", `
rollcall_lease_lost_total{} 1
rollcall_publish_total{result="failed"} 2
rollcall_publish_total{result="ok"} 2
rollcall_publish_total{result="refused"} 3
`)
}

func TestCallsAndEndpoints(t *testing.T) {
	m, registry := registered(t)
	m.Refused("payments")
	m.Refused("payments")
	m.Refused("stock")
	m.Endpoints("shop/checkout", 3, 1, 2)
	m.Endpoints("shop/cart", 1, 0, 0)
	m.Endpoints("shop/cart", 0, 0, 0) // an alert needs to see this
	shows(t, registry, "rollcall_refused_calls_total rollcall_resolver_endpoints", `
rollcall_refused_calls_total{service="payments"} 2
rollcall_refused_calls_total{service="stock"} 1
rollcall_resolver_endpoints{service="shop/cart",state="panicked"} 0
rollcall_resolver_endpoints{service="shop/cart",state="serving"} 0
rollcall_resolver_endpoints{service="shop/cart",state="skipped"} 0
rollcall_resolver_endpoints{service="shop/checkout",state="panicked"} 2
rollcall_resolver_endpoints{service="shop/checkout",state="serving"} 3
rollcall_resolver_endpoints{service="shop/checkout",state="skipped"} 1
`)
}

func TestViews(t *testing.T) {
	m, registry := registered(t)
	const names = "rollcall_view_age_seconds rollcall_view_held rollcall_view_off"
	m.AddView(nil)
	shows(t, registry, names, "") // no view, nothing to say
	m.views = append(m.views,
		&fakeView{silent: 2 * time.Second, opinions: map[string]view.Opinion{"checkout": {Off: true, Held: true}, "payments": {}}},
		&fakeView{silent: time.Second, opinions: map[string]view.Opinion{"checkout": {}, "payments": {Off: true}, "stock": {}}})
	shows(t, registry, names, `
rollcall_view_age_seconds{} 2
rollcall_view_held{} 1
rollcall_view_off{service="checkout"} 1
rollcall_view_off{service="payments"} 1
rollcall_view_off{service="stock"} 0
`)
}

func TestAddViewTwice(t *testing.T) {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v, err := view.New(c, []string{"checkout"})
	if err != nil {
		t.Fatal(err)
	}
	m, registry := registered(t)
	m.AddView(v)
	m.AddView(v)
	if len(m.views) != 1 {
		t.Errorf("%d views", len(m.views))
	}
	shows(t, registry, "rollcall_view_off", "rollcall_view_off{service=\"checkout\"} 0\n")
}

// TestRegistering: two in two registries are apart, and one registry takes only one, unless labels tell them apart.
func TestRegistering(t *testing.T) {
	one, first := registered(t)
	_, second := registered(t)
	one.LeaseLost()
	shows(t, first, "rollcall_lease_lost_total", "rollcall_lease_lost_total{} 1\n")
	shows(t, second, "rollcall_lease_lost_total", "rollcall_lease_lost_total{} 0\n")
	for _, again := range []*Metrics{one, New()} {
		if err := first.Register(again); !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			t.Errorf("registered twice: %v", err)
		}
	}
	apart := prometheus.NewPedanticRegistry()
	for _, part := range []string{"one", "two"} {
		if err := prometheus.WrapRegistererWith(prometheus.Labels{"part": part}, apart).Register(New()); err != nil {
			t.Errorf("with labels: %v", err)
		}
	}
	shows(t, apart, "rollcall_lease_lost_total", "rollcall_lease_lost_total{part=\"one\"} 0\nrollcall_lease_lost_total{part=\"two\"} 0\n")
}

func TestConcurrentUse(t *testing.T) {
	m, registry := registered(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				everything := []func(){
					func() { m.CheckDone(checks.Result{Service: "checkout", Check: "database"}) },
					func() { m.StatusChanged("checkout", client.Serving, nil) }, func() { m.CheckRemoved("checkout", "database") },
					func() { m.Published(nil) }, m.LeaseLost, func() { m.Refused("payments") },
					func() { m.Endpoints("checkout", 1, 2, 3) }, func() { m.AddView(nil) },
				}
				for _, f := range everything {
					f()
				}
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	shows(t, registry, "rollcall_lease_lost_total", "rollcall_lease_lost_total{} 200\n")
}

func BenchmarkRefused(b *testing.B) {
	m := New()
	b.ReportAllocs()
	for b.Loop() {
		m.Refused("payments")
	}
}
