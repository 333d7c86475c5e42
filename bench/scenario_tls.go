package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/rollcallhq/rollcall/bench/report"
)

// plainTextName is how tables name the cluster without TLS that one with TLS is measured beside.
const plainTextName = "plain text"

var tlsScenario = scenario{
	name:  "tls",
	title: "TLS",
	about: "Check over gRPC with TLS 1.3, beside the same in plain text: 64 callers on one connection, each one call after the other, of 1,000 services picked at random. A follower of three nodes answers. Processor time is that of the process that answers.",
	run:   runTLS,
}

func runTLS(ctx context.Context, s *session, r *report.Scenario) error {
	secured, err := newRollcallTLS(ctx, s)
	if err != nil {
		return err
	}
	ours, err := askedOf(ctx, secured, viaFollower)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := newRollcallStatuses(ctx, s, viaFollower)
	if err != nil {
		return err
	}
	defer theirs.close()
	theirs.label = plainTextName
	contestants := []*rollcallStatuses{ours, theirs}
	const services = 1000
	for _, c := range contestants {
		if err := c.fill(ctx, 0, services); err != nil {
			return fmt.Errorf("fill %s: %w", c.who(), err)
		}
	}
	return eachRound(s, contestants, func(c *rollcallStatuses) error {
		s.progress("%s", c.who())
		l, err := checkUnder(ctx, s, c, services, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", c.who(), err)
		}
		r.Row("Check", "calls/s", report.RatioAtLeast(0.85, 0), rollcallName, plainTextName).Add(c.who(), l.perSecond())
		r.Row("Check", "µs processor/call", nil, rollcallName, plainTextName).Add(c.who(), l.cpuPerCall())
		r.Row("Check", "ms p50", nil, rollcallName, plainTextName).Add(c.who(), l.quantileMillis(0.5))
		r.Row("Check", "ms p99", nil, rollcallName, plainTextName).Add(c.who(), l.quantileMillis(0.99))
		return nil
	})
}

// newRollcallTLS makes a cluster of three with TLS, whose members share a certificate. It is permissive, because metrics are
// read in plain text. It does not run yet.
func newRollcallTLS(ctx context.Context, s *session) (*rollcall, error) {
	dir, err := s.dataDir("tls")
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"ca"}, {"node", "bench", "--host", "127.0.0.1"}} {
		cmd := exec.CommandContext(ctx, s.binary("rollcall"), append(append([]string{"cert"}, args...), "--dir", dir)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make certificates: %w\n%s", err, out)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	c, err := newRollcall(s, 3, "--tls", "permissive", "--peer-identity", "ca", "--cert", at("bench.crt"), "--key", at("bench.key"), "--ca", at("ca.crt"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(at("ca.crt"))
	if err != nil {
		return nil, err
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM(ca) {
		return nil, errors.New("there is no certificate in ca.crt")
	}
	c.disconnect() // in plain text, and not connected yet
	for i, address := range c.apis {
		c.conns[i], err = grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: cas, MinVersion: tls.VersionTLS13})), grpc.WithConnectParams(quickConnect))
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}
