package view_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// A worker that stops taking jobs while the registry says that "billing" is NOT_SERVING.
func Example() {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close() // last
	v, err := view.New(c, []string{"billing"}, view.WithLogger(slog.Default()))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := v.Run(ctx); ctx.Err() == nil {
			fmt.Println(err)
		}
	})

	select {
	case <-v.Ready():
	case <-time.After(500 * time.Millisecond): // the registry is away: work as if it had said nothing
	}
	for ctx.Err() == nil {
		changed := v.Changed() // before Get, so that no change is missed
		if o := v.Get("billing"); o.Off {
			fmt.Println("billing is off:", o.Record.GetOverride().GetReason())
		} else {
			fmt.Println("billing may be used")
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Get costs a few nanoseconds, so that every call can ask.
func ExampleView_Get() {
	c, err := client.New(client.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	v, err := view.New(c, []string{"billing", "mail"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// v.Run(ctx) runs in a goroutine.
	for _, name := range append(v.Names(), "another") {
		o := v.Get(name)
		fmt.Printf("%s: off %t, heard %t\n", name, o.Off, o.Heard)
	}
	// Output:
	// billing: off false, heard false
	// mail: off false, heard false
	// another: off false, heard false
}
