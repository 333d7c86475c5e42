// Command health serves grpc-go's health.Server, with grpc-go's defaults, on one address. What an
// application would call in its own process is told on standard input, a command a line, each answered
// with a line:
//
//	fill N            services 0 to N-1 are SERVING
//	set NAME STATUS   one service has another status
//	churn RATE N      from now on, RATE of the first N services change each second; 0 ends it
package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/bench/workload"
)

func main() {
	listen := flag.String("listen", "", "`address` of the health service")
	profiles := flag.String("http", "", "`address` of Go's profiles")
	flag.Parse()
	if err := run(*listen, *profiles); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run(listen, profiles string) error {
	api, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", profiles)
	if err != nil {
		return err
	}
	statuses := health.NewServer()
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, statuses)
	go func() { _ = s.Serve(api) }()
	go func() { _ = http.Serve(web, nil) }()

	c := control{statuses: statuses, stop: func() {}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := c.do(lines.Text()); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("ok")
	}
	return lines.Err()
}

type control struct {
	statuses *health.Server
	stop     func() // the churn
}

func (c *control) do(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "fill":
		var n int
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return err
		}
		for i := range n {
			c.statuses.SetServingStatus(workload.Service(i), healthpb.HealthCheckResponse_SERVING)
		}
	case "set":
		var name, status string
		if _, err := fmt.Sscan(rest, &name, &status); err != nil {
			return err
		}
		s, ok := healthpb.HealthCheckResponse_ServingStatus_value[status]
		if !ok {
			return fmt.Errorf("no status %q", status)
		}
		c.statuses.SetServingStatus(name, healthpb.HealthCheckResponse_ServingStatus(s))
	case "churn":
		var rate, n int
		if _, err := fmt.Sscan(rest, &rate, &n); err != nil {
			return err
		}
		c.churn(rate, n)
	default:
		return fmt.Errorf("no command %q", verb)
	}
	return nil
}

// churn changes rate services a second, in bursts of a hundredth of it, as an application would that
// hears of them one after the other.
func (c *control) churn(rate, n int) {
	c.stop()
	c.stop = func() {}
	if rate == 0 {
		return
	}
	end, ended := make(chan struct{}), make(chan struct{})
	c.stop = func() { close(end); <-ended }
	go func() {
		defer close(ended)
		ticks := time.NewTicker(10 * time.Millisecond)
		defer ticks.Stop()
		begin := time.Now()
		for i := 0; ; {
			select {
			case <-end:
				return
			case <-ticks.C:
			}
			for due := int(time.Since(begin).Seconds() * float64(rate)); i < due; i++ {
				s := healthpb.HealthCheckResponse_SERVING
				if (i/n)%2 == 0 {
					s = healthpb.HealthCheckResponse_NOT_SERVING
				}
				c.statuses.SetServingStatus(workload.Service(i%n), s)
			}
		}
	}()
}
