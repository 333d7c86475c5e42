// Command bench measures Rollcall beside what its users could pick instead: grpc-go's health.Server,
// etcd, NATS. Everything runs on this machine, on loopback, as processes of its own: three nodes of each
// cluster with data directories that are synced, and one process that makes the load with stock clients.
// Contestants take turns within each round, because a machine drifts more than they differ.
//
//	bench run [flags]          measure; see bench run -h
//	bench report FILE [FILE]   make the page anew from results
//
// This package drives; peers/ holds the servers that it is compared with, report/ what becomes of the
// figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rollcallhq/rollcall/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends it at once; children die with it
	}()
	err := command(ctx, os.Args[1:])
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "run":
		return run(ctx, args)
	case "watch": // the role of a load process: see watchers.go
		return watchRole(ctx, args)
	case "renew": // another one: see renewers.go
		return renewRole(ctx, args)
	case "report":
		return publish(args)
	}
	return errors.New("usage: bench run [flags] | bench report [flags] FILE [FILE]")
}

func run(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	result, err := s.run(ctx)
	if err != nil {
		return err
	}
	if err := result.Write(o.out); err != nil {
		return err
	}
	s.progress("results in %s", o.out)
	if o.page == "" {
		fmt.Print(result.Markdown("bench"))
		return nil
	}
	s.progress("tables in %s, plots in %s", o.page, o.plots)
	return result.Publish(o.page, o.plots)
}

func publish(args []string) error {
	f := flag.NewFlagSet("report", flag.ContinueOnError)
	page, plots := pageFlags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	r, err := report.Read(f.Args()...)
	if err != nil {
		return err
	}
	if *page == "" {
		fmt.Print(r.Markdown("bench"))
		return nil
	}
	return r.Publish(*page, *plots)
}
