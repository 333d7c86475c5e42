package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// reportAndWatch is the program of the package's comment.
func reportAndWatch(cfg client.Config) error {
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = c.Set(ctx, "shop/cart", client.Serving, client.WriteOptions{Reason: "deployed 1.4"})
	switch {
	case client.IsUnknown(err):
		return fmt.Errorf("it may have been done: %w", err)
	case err != nil:
		return fmt.Errorf("nothing was changed: %w", err)
	}
	for u, err := range c.Watch(ctx, "shop/cart") {
		if err != nil {
			return err
		}
		fmt.Println(u.Service, "is", u.Status)
		if u.Status == client.Serving {
			break
		}
	}
	return nil
}

func Example() {
	cluster, err := startLoopback(3)
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.stop()
	cfg := client.DefaultConfig()
	cfg.Actor = "example"
	cfg.Endpoints = nil
	for _, n := range cluster.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.name)
	}
	if err := reportAndWatch(cfg); err != nil {
		log.Fatal(err)
	}
	// Output: shop/cart is SERVING
}

// linesOf returns lines of a file, counted from 1, without their indents and without empty ones.
func linesOf(t *testing.T, file string, first, last int) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(string(text), "\n")[first-1 : last] {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
