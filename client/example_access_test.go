package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// A token for a program that reports the instances of one service. Its text goes into a file of the program's, and
// nowhere else: nobody can be asked for it later.
func ExampleClient_CreateToken() {
	c, stop := shop()
	defer stop()
	directory, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(directory)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	token, _, err := c.CreateToken(ctx, client.NewToken{
		Name:   "cart",
		Grants: []*rollcallv1.Grant{{Role: "reporter", Patterns: []string{"shop/cart", "shop/cart/*"}}},
		TTL:    90 * 24 * time.Hour,
	}, client.WriteOptions{Reason: "ticket 7"})
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "token"), []byte(token.Text()), 0o600); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(token.Text()), "characters")
	// Output: 64 characters
}

// A program that says who it is. The file is read again: another token in it needs no restart.
func ExampleConfig_CheckToken() {
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{"10.0.0.1:7600"}
	cfg.TokenFile = "/etc/checkout/token"
	fmt.Println(errors.Is(cfg.CheckToken(), client.ErrTokenOverPlainText))
	// Output: true
}

// What a program does about a refusal. To try again does not help.
func ExampleIsDenied() {
	c, stop := strict()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := c.Set(ctx, "shop/cart", client.Serving, client.WriteOptions{})
	e, _ := errors.AsType[*client.Error](err)
	switch {
	case client.IsDenied(err):
		fmt.Println(e.Identity, "needs a grant of", e.Verb)
	case client.IsUnauthenticated(err):
		fmt.Println("the token is no good:", e.Reason)
	case err != nil:
		fmt.Println("something else:", err)
	}
	// Output: token:ci needs a grant of report
}

// strict starts a node that denies everything to the client's token.
func strict() (c *client.Client, stop func()) {
	cluster, err := startLoopback(1)
	if err != nil {
		log.Fatal(err)
	}
	token := accesstoken.New()
	cluster.do(func() {
		cluster.access = access{enforced: true, denied: map[string]bool{token.Text(): true}}
	})
	cfg := client.DefaultConfig()
	cfg.Endpoints = []string{cluster.nodes[0].name}
	cfg.Token = func(context.Context) (string, error) { return token.Text(), nil }
	if c, err = client.New(cfg); err != nil {
		log.Fatal(err)
	}
	return c, func() {
		c.Close()
		cluster.stop()
	}
}
