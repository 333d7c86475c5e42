//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/rollcallhq/rollcall/cmd/rollcall/top"
)

// notifyResize tells when the terminal gets another size.
func notifyResize(c chan<- os.Signal) { signal.Notify(c, unix.SIGWINCH) }

// readKeys sends the keys that are pressed, until ctx ends or the terminal is gone; then it sends CtrlC. It looks for
// them at most so long at a time, because a read of a terminal cannot be ended.
func readKeys(ctx context.Context, in *os.File, keys chan<- []top.Key) {
	const look = 200 // ms
	send := func(pressed []top.Key) {
		select {
		case keys <- pressed:
		case <-ctx.Done():
		}
	}
	buffer := make([]byte, 256)
	for ctx.Err() == nil {
		ready := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, look)
		if n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			n, err = in.Read(buffer)
		}
		if err != nil {
			send([]top.Key{top.CtrlC})
			return
		}
		send(top.Keys(buffer[:n]))
	}
}
