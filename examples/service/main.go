// Service is an instance of a service that operators can switch off, and whose database is checked.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	_ "modernc.org/sqlite"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/healthserver"
	"github.com/rollcallhq/rollcall/examples/shop"
)

var (
	registry = flag.String("registry", cmp.Or(os.Getenv("ROLLCALL_ENDPOINTS"), "127.0.0.1:7600,127.0.0.1:7610,127.0.0.1:7620"), "nodes of the registry")
	name     = flag.String("service", "cell-a/checkout", "what operators switch")
	instance = flag.String("instance", "127.0.0.1:8080", "the address at which others reach this process")
	database = flag.String("database", "orders.db", "the SQLite file")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	db, err := sql.Open("sqlite", *database)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS orders (item TEXT)"); err != nil {
		return err
	}

	config := client.DefaultConfig()
	config.Endpoints, config.Actor = strings.Split(*registry, ","), *instance
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()

	// The one line that a program with grpc-go's health server changes: it was health.NewServer().
	health, err := healthserver.New(*name, healthserver.WithClient(c), healthserver.WithInstance(*instance),
		healthserver.WithPublish(healthserver.Publish{}), healthserver.WithLogger(slog.Default()))
	if err != nil {
		return err
	}

	// The check decides over the whole process, "". Three failures in a row turn it, one success turns it back.
	runner := checks.NewRunner(checks.To(health), checks.WithLogger(slog.Default()))
	if err := runner.Add("", checks.SQL("database", db, "SELECT count(*) FROM orders"), checks.Interval(time.Second), checks.Timeout(time.Second)); err != nil {
		return err
	}

	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health)
	shop.Register(server, func(ctx context.Context, item string) (string, error) {
		_, err := db.ExecContext(ctx, "INSERT INTO orders VALUES (?)", item)
		return *instance + " has " + item, err
	})
	listener, err := net.Listen("tcp", *instance)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go health.Run(ctx) // follows the registry, and reports to it
	checking := make(chan struct{})
	go func() {
		runner.Run(ctx)
		close(checking)
	}()

	// In order: the callers are told, calls under way end, then everything else.
	stop, stopped := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stopped()
	done := make(chan struct{})
	go func() {
		<-stop.Done()
		deadline, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		health.Stop(deadline, server)
		close(done)
	}()
	fmt.Println("serving", *name, "at", *instance)
	if err := server.Serve(listener); err != nil {
		return err
	}
	<-done
	cancel()
	<-checking
	return nil
}
