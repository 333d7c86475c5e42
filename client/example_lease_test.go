package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// A process reports its own status, under a lease: if it dies, it is NOT_SERVING ten seconds later.
func ExampleClient_KeepLease() {
	c, stop := shop()
	defer stop()

	lease, err := c.KeepLease(client.LeaseOptions{TTL: 10 * time.Second}, client.KeepOptions{
		Reason: "shop/cart on host 7",
		OnStop: client.StopNotServing,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := lease.Report(ctx, "shop/cart/10.0.0.7:8080", client.Serving, "all checks pass"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/cart/10.0.0.7:8080"))

	// The process works, and is asked to stop.
	if err := lease.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/cart/10.0.0.7:8080"))
	// Output:
	// SERVING <nil>
	// NOT_SERVING <nil>
}

// A program is told what becomes of its lease.
func ExampleClient_KeepLease_onEvent() {
	c, stop := shop()
	defer stop()

	lost := make(chan struct{})
	lease, err := c.KeepLease(client.LeaseOptions{TTL: time.Second}, client.KeepOptions{OnEvent: func(e client.LeaseEvent) {
		switch e.Type {
		case client.LeaseBecameOverdue, client.LeaseFailed:
			log.Printf("the lease is %v: %v", e.Type, e.Err)
		case client.LeaseWasLost:
			close(lost)
		default:
			fmt.Println("the lease is", e.Type)
		}
	}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := lease.Report(ctx, "shop/cart/10.0.0.7:8080", client.Serving, ""); err != nil {
		log.Fatal(err)
	}

	// Somebody ends the lease. Another one is granted, and everything is reported anew.
	if _, err := c.RevokeLease(ctx, lease.ID(), client.RevokeOptions{}, client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	<-lost
	if _, err := c.WaitFor(ctx, "shop/cart/10.0.0.7:8080", client.Serving); err != nil {
		log.Fatal(err)
	}
	if err := lease.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// the lease is granted
	// the lease is reported
	// the lease is granted
	// the lease is reported
}

// A health server must not wait for the registry: Submit returns at once, and the newest status is reported when
// that can be.
func ExampleLease_Submit() {
	c, stop := shop()
	defer stop()

	lease, err := c.KeepLease(client.LeaseOptions{TTL: 10 * time.Second}, client.KeepOptions{OnStop: client.StopLeave})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range []client.Status{client.Unknown, client.NotServing, client.Serving} {
		if err := lease.Submit(client.Report{Service: "shop/cart/10.0.0.7:8080", Status: s}); err != nil {
			log.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := lease.Close(ctx); err != nil { // writes what is not written yet
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/cart/10.0.0.7:8080"))
	// Output: SERVING <nil>
}

// An agent reports for many services under one lease.
func ExampleLease_ReportBatch() {
	c, stop := shop()
	defer stop()

	lease, err := c.KeepLease(client.LeaseOptions{TTL: 30 * time.Second, ForgetAfter: 24 * time.Hour}, client.KeepOptions{OnStop: client.StopWithdraw})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = lease.ReportBatch(ctx, []client.Report{
		{Service: "db/10.0.0.7:5432", Status: client.Serving},
		{Service: "cache/10.0.0.7:6379", Status: client.NotServing, Reason: "no memory left"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := lease.Withdraw(ctx, "cache/10.0.0.7:6379"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "db/10.0.0.7:5432"))
	if err := lease.Close(ctx); err != nil { // withdraws the others
		log.Fatal(err)
	}
	s, _ := c.Check(ctx, "db/10.0.0.7:5432")
	fmt.Println(s)
	// Output:
	// SERVING <nil>
	// SERVICE_UNKNOWN
}

// Without a Lease: grant, report under it, keep it alive.
func ExampleClient_KeepAlive() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	granted, err := c.GrantLease(ctx, client.LeaseOptions{TTL: 10 * time.Second}, client.WriteOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Set(ctx, "shop/cart", client.Serving, client.WriteOptions{LeaseID: granted.GetLeaseId()}); err != nil {
		log.Fatal(err)
	}
	for r, err := range c.KeepAlive(ctx, granted.GetLeaseId()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("the lease is", r.State)
		if r.State == client.LeaseHeld {
			if _, err := c.RevokeLease(ctx, r.LeaseID, client.RevokeOptions{}, client.WriteOptions{Reason: "done"}); err != nil {
				log.Fatal(err)
			}
			break
		}
	}
	fmt.Println(c.Check(ctx, "shop/cart"))
	// Output:
	// the lease is held
	// NOT_SERVING <nil>
}

// What is reported under a lease that lives is its reporter's to say. Operators use overrides.
func ExampleIsLeaseHeld() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	lease, err := c.KeepLease(client.LeaseOptions{TTL: 10 * time.Second}, client.KeepOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := lease.Report(ctx, "shop/cart", client.Serving, ""); err != nil {
		log.Fatal(err)
	}
	_, err = c.Set(ctx, "shop/cart", client.NotServing, client.WriteOptions{Reason: "disk swap"})
	if e, ok := errors.AsType[*client.Error](err); ok && client.IsLeaseHeld(err) {
		fmt.Println("held by the lease of the reporter:", e.LeaseID == lease.ID())
		_, err = c.SetOverride(ctx, "shop/cart", client.NotServing, client.WriteOptions{Reason: "disk swap"})
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/cart"))
	if err := lease.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// held by the lease of the reporter: true
	// NOT_SERVING <nil>
}

// A lease that has ended is not found. Its reports are what OnExpiry, or its revocation, said.
func ExampleIsLeaseLost() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	_, err := c.Set(ctx, "shop/cart", client.Serving, client.WriteOptions{LeaseID: "8d3f1a2b4c5d6e7f"})
	fmt.Println(client.IsLeaseLost(err), client.IsNotWritten(err))
	// Output: true true
}

func ExampleClient_GrantLease() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.GrantLease(ctx, client.LeaseOptions{
		TTL:         time.Minute,
		OnExpiry:    client.ServiceUnknown.Enum(), // its reports are deleted
		ForgetAfter: 0,
	}, client.WriteOptions{Reason: "nightly job"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.GetLeaseId(), "lives for", resp.GetTtl().AsDuration())
	// Output: 0000000000000001 lives for 1m0s
}

// The reports of a lease stay as they are when it is revoked so.
func ExampleClient_RevokeLease() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	granted, err := c.GrantLease(ctx, client.LeaseOptions{TTL: time.Minute}, client.WriteOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Set(ctx, "shop/cart", client.Serving, client.WriteOptions{LeaseID: granted.GetLeaseId()}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.RevokeLease(ctx, granted.GetLeaseId(), client.RevokeOptions{KeepReports: true}, client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Check(ctx, "shop/cart"))
	// Output: SERVING <nil>
}

func ExampleClient_ListLeases() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	for range 2 {
		if _, err := c.GrantLease(ctx, client.LeaseOptions{TTL: time.Minute}, client.WriteOptions{Reason: "job"}); err != nil {
			log.Fatal(err)
		}
	}
	for l, err := range c.ListLeases(ctx, client.ListLeasesOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.GetLeaseId(), l.GetTtl().AsDuration(), l.GetReason())
	}
	// Output:
	// 0000000000000001 1m0s job
	// 0000000000000002 1m0s job
}

func ExampleClient_ReleaseLeaseGuard() {
	c, stop := shop()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	resp, err := c.ReleaseLeaseGuard(ctx, client.WriteOptions{Reason: "the hosts are really gone"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it held leases:", resp.GetChanged())
	// Output: it held leases: false
}
