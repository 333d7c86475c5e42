//go:build !unix

package main

import (
	"context"
	"os"

	"github.com/rollcallhq/rollcall/cmd/rollcall/top"
)

// notifyResize: this system does not tell; the size is looked at with each picture.
func notifyResize(chan<- os.Signal) {}

// readKeys sends the keys that are pressed, until ctx ends or the terminal is gone. A read cannot be ended: it ends with
// the process.
func readKeys(ctx context.Context, in *os.File, keys chan<- []top.Key) {
	go func() {
		buffer := make([]byte, 256)
		for {
			n, err := in.Read(buffer)
			pressed := top.Keys(buffer[:n])
			if err != nil {
				pressed = []top.Key{top.CtrlC}
			}
			select {
			case keys <- pressed:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	<-ctx.Done()
}
