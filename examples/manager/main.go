// Manager checks a service in layers: its business, its database, what it needs from others, and the resources of its
// host. It shows all of it on a page, tells a health server and the registry, and Prometheus.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	_ "modernc.org/sqlite"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/checks/host"
	"github.com/rollcallhq/rollcall/client/metrics"
)

var (
	registry = flag.String("registry", cmp.Or(os.Getenv("ROLLCALL_ENDPOINTS"), "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620"), "nodes of the registry")
	name     = flag.String("service", "shop", "the prefix of what is reported: shop/orders, shop/storage")
	listen   = flag.String("listen", "127.0.0.1:8085", "grpc.health.v1")
	page     = flag.String("page", "127.0.0.1:8086", "http: / has the results, /metrics is for Prometheus")
	database = flag.String("database", "orders.db", "the SQLite file")
	partner  = flag.String("partner", "http://127.0.0.1:8087/healthz", "what answers 200 while the partner works")
	every    = flag.Duration("every", 10*time.Second, "interval of the checks")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	db, err := sql.Open("sqlite", *database)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS orders (item TEXT, paid BOOLEAN)"); err != nil {
		return err
	}
	config := client.DefaultConfig()
	config.Endpoints, config.Actor = strings.Split(*registry, ","), *name
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	// While this process lives, its reports stand. When it dies they turn NOT_SERVING.
	lease, err := c.KeepLease(client.LeaseOptions{TTL: 10 * time.Second}, client.KeepOptions{})
	if err != nil {
		return err
	}
	local, m := health.NewServer(), metrics.New()
	prometheus.MustRegister(m)
	runner := checks.NewRunner(
		checks.To(local),
		checks.To(checks.ToRegistry(lease, func(service string) string { return *name + "/" + service })),
		checks.WithObserver(m), checks.WithLogger(slog.Default()))

	unpaid := func(ctx context.Context) error { // the business: what counts in the end
		var n int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE NOT paid").Scan(&n); err != nil {
			return err
		}
		switch {
		case n > 100:
			return fmt.Errorf("%d orders are not paid", n)
		case n > 10:
			return checks.Degraded(fmt.Errorf("%d orders are not paid", n))
		}
		return nil
	}
	external := checks.HTTP("partner", *partner)
	err = errors.Join(
		runner.Add("orders", checks.Func("business", unpaid), checks.Interval(*every)),
		runner.Add("orders", checks.SQL("database", db, "SELECT count(*) FROM orders"), checks.Interval(*every)),
		runner.Add("orders", external, checks.Interval(*every), checks.NonCritical()), // shown, turns nothing
		runner.Add("storage", host.Disk("disk", "."), checks.Interval(*every)),
		runner.Add("storage", host.Memory("memory"), checks.Interval(*every), checks.NonCritical()),
		runner.Add("storage", checks.Goroutines("goroutines", 10_000), checks.Interval(*every)))
	if err != nil {
		return err
	}

	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, local)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", runner.Handler())
	mux.Handle("/metrics", promhttp.Handler())
	web := &http.Server{Addr: *page, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var work sync.WaitGroup
	work.Go(func() { server.Serve(listener) })
	work.Go(func() { web.ListenAndServe() })
	log.Printf("results at http://%s/", *page)

	runner.Run(ctx) // until a signal
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = lease.Close(last)
	server.Stop()
	web.Close()
	work.Wait()
	return err
}
