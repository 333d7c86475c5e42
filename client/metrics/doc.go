// Package metrics tells Prometheus what the packages under client do in a program. It is the only one of them that
// imports Prometheus.
//
//	m := metrics.New()
//	prometheus.MustRegister(m) // or a registry of the program's own
//	health, err := healthserver.New("checkout", healthserver.WithClient(c), healthserver.WithObserver(m), …)
//	runner := checks.NewRunner(checks.To(health), checks.WithObserver(m))
//	instances, err := resolver.New(c, resolver.WithObserver(m))
//	conn, err := aware.Dial(target, "checkout", aware.WithView(v, mapping, aware.WithObserver(m)))
//	m.AddView(v)
//
// A Metrics is a prometheus.Collector, and the Observer of each of these packages. One is enough for a program, for
// any number of servers, runners, resolvers and channels. Two of them must be in two registries, or be registered
// under different labels (prometheus.WrapRegistererWith): a registry refuses the second one, as it does with any
// collector.
//
// # What there is
//
//	grpc_health_check_status{service}                    1 while it is SERVING, else 0; service is a check's name, or
//	                                                     that of a service whose status checks make
//	grpc_health_check_duration_seconds{service,status}   histogram: how long a check took; service is its name, status
//	                                                     is SERVING (it passed, or is degraded) or NOT_SERVING
//	rollcall_view_age_seconds                            how long no node of the registry was heard; 0 while one is
//	rollcall_view_off{service}                           1 while the registry says NOT_SERVING of it, else 0
//	rollcall_view_held                                   how many names are off only because another cluster, which
//	                                                     answers now, has not spoken of them
//	rollcall_publish_total{result}                       reports to the registry: ok; refused, which needs an operator;
//	                                                     failed, which may pass by itself
//	rollcall_lease_lost_total                            how often the registry took this process for dead
//	rollcall_refused_calls_total{service}                calls that aware's interceptors refused; service is the name
//	                                                     of the view that was off
//	rollcall_resolver_endpoints{service,state}           instances that channels to service know: serving, panicked (in
//	                                                     use though not SERVING), skipped (not host:port)
//
// The damped status of a check is shown, which thresholds have passed, and the raw duration of each run. The names
// that begin with grpc_ are those of widespread dashboards.
//
// # Labels
//
// Every label value is a name that the program itself chose, of a check, a service or a view, or one of the words above.
// Nothing that a caller or another process sends becomes one. So there are as many series as the program has names.
//
// If several services have a check of the same name, or a check is named as a service, they share a series of
// grpc_health_check_status: it is 1 while all of them are SERVING. The service "" of a health server is shown as
// service="".
//
// A check that was removed is not shown any more. All else that was shown once stays: an alert must see instances
// that are gone.
package metrics
